//! The console: HTML pages as pure functions from plain data, and the few static files that they need. But for [`routes`],
//! nothing here knows of requests, sessions or rights: it is told by [`Chrome`] who looks, and shows what that person may do.
//!
//! Every page works without scripts. With them, `assets/console.js` listens to `/api/v1/events` and asks for the page again
//! when something changed. The policy of the pages is `default-src 'self'`: there is no script and no style in the HTML.
//!
//! Forms, all sent by POST with the field `csrf` (but for sign-in and the one-time link, whose secret stands in its place):
//!
//! | Path | Fields | Role |
//! |---|---|---|
//! | `/tasks` | `task` (backup, verify, retention) | operator |
//! | `/tasks/cancel` | `job` | operator |
//! | `/alerts/{id}/postpone` | `until` (1h, 8h, tomorrow, date), `date` | operator |
//! | `/alerts/{id}/clear` | `comment` | operator |
//! | `/alerts/test` | | operator |
//! | `/versions/{archive}/{version}/restore` | `path` (escaped once more, as in links: it may be no text), `folder` (a name) | administrator |
//! | `/people/invite` | `name`, `role` | administrator |
//! | `/people/{name}/role` | `role` | administrator |
//! | `/people/{name}/remove` | | administrator |
//! | `/tokens` | `name`, `role`, `days` | administrator |
//! | `/tokens/{id}/revoke` | | administrator |
//! | `/theme` | `theme` (system, light, dark), `back` | anybody |
//! | `/sign-out` | | anybody |
//! | `/sign-in` | `name`, `password`, `next` | nobody yet |
//! | `/welcome/{secret}` | `name`, `password`, `again` | nobody yet |

pub mod alerts;
pub mod assets;
pub mod audit;
pub mod browse;
pub mod charts;
mod chrome;
pub mod components;
pub mod error;
mod forms;
pub mod gather;
pub mod overview;
pub mod people;
pub mod routes;
pub mod run;
pub mod runs;
pub mod schedule;
pub mod settings;
pub mod sign_in;
pub mod site_facts;
mod tables;
mod timeline;
mod verdict;
pub mod versions;
mod words;

pub use chrome::{Chrome, Notice, Place, Theme, UnderWay, Visitor};

#[cfg(test)]
mod console_tests;
#[cfg(test)]
mod samples_tests;
