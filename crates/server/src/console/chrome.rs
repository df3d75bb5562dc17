//! What every page shows around its content.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use stillpoint_history::Role;

use super::words::{capital, segment, unsteered};
use super::{assets, forms};

/// Who looks.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The name.
    pub name: String,
    /// What that person may do.
    pub role: Role,
}

/// The colours of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// As the browser says.
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// All of them.
    pub const ALL: [Theme; 3] = [Theme::System, Theme::Light, Theme::Dark];

    /// Its name, in the form and in the cookie.
    pub fn as_str(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    /// The theme with this name; what is unknown is as the browser says.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|theme| theme.as_str() == name).unwrap_or(Theme::System)
    }
}

/// The page that is shown, for the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the pages")]
pub enum Place {
    Overview,
    Runs,
    Versions,
    Components,
    Alerts,
    Schedule,
    Charts,
    Settings,
    People,
    Audit,
    /// A page that is not in the navigation.
    Elsewhere,
}

const PAGES: [(Place, &str, &str); 8] = [
    (Place::Overview, "/", "Overview"),
    (Place::Runs, "/runs", "Runs"),
    (Place::Versions, "/versions", "Versions"),
    (Place::Components, "/components", "Components"),
    (Place::Alerts, "/alerts", "Alerts"),
    (Place::Schedule, "/schedule", "Schedule"),
    (Place::Charts, "/charts", "Charts"),
    (Place::Settings, "/settings", "Settings"),
];
const PAGES_OF_ADMINISTRATOR: [(Place, &str, &str); 2] =
    [(Place::People, "/people", "People"), (Place::Audit, "/audit", "Audit log")];

/// What came of what a person asked for, told on the next page.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Whether it went as asked.
    pub good: bool,
    /// What happened, in one sentence.
    pub text: String,
}

/// The run that is under way.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// The name of the run.
    pub run: String,
    /// What it does, such as `backup`.
    pub task: String,
}

/// What every page shows and needs to know.
#[derive(Debug, Clone)]
pub struct Chrome {
    /// The site code.
    pub site_code: String,
    /// The name of the site; may be empty.
    pub site_name: String,
    /// The time zone of the site.
    pub zone: TimeZone,
    /// The instant for which the page is made: ages are counted from it.
    pub now: Timestamp,
    /// Who looks; nobody before sign-in.
    pub person: Option<Visitor>,
    /// The secret of the session that every form carries.
    pub csrf: String,
    /// The page.
    pub place: Place,
    /// The path of the page with its query, to come back to.
    pub path: String,
    /// The version of the program.
    pub version: String,
    /// How many alerts are active.
    pub alerts_active: u64,
    /// The run that is under way.
    pub under_way: Option<UnderWay>,
    /// The colours.
    pub theme: Theme,
    /// What came of the last thing that was asked for.
    pub notice: Option<Notice>,
}

impl Chrome {
    /// Whether who looks may run and cancel tasks and deal with alerts.
    pub fn may_operate(&self) -> bool {
        self.may(Role::Operator)
    }

    /// Whether who looks may restore, and manage people.
    pub fn may_administer(&self) -> bool {
        self.may(Role::Administrator)
    }

    fn may(&self, least: Role) -> bool {
        self.person.as_ref().is_some_and(|it| it.role >= least)
    }

    /// Whether the page is asked for again when something changes. Not those that have an archive opened each time.
    fn is_live(&self) -> bool {
        self.person.is_some() && self.place != Place::Versions
    }

    /// The whole page around its content. The content begins with its own `h1`.
    pub(super) fn frame(&self, title: &str, content: &Markup) -> Markup {
        let theme = (self.theme != Theme::System).then(|| self.theme.as_str());
        let page = html! {
            (DOCTYPE)
            html lang="en" data-theme=[theme] {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · " (self.site_code) " · Stillpoint" }
                    link rel="icon" type="image/svg+xml" href=(assets::mark());
                    link rel="stylesheet" href=(assets::style());
                    script src=(assets::script()) defer {}
                }
                body data-live=[self.is_live().then_some("yes")] {
                    a class="skip" href="#content" { "Skip to the content" }
                    (self.header())
                    main id="content" tabindex="-1" {
                        @if let Some(notice) = &self.notice {
                            p class={ "notice " (if notice.good { "good" } else { "bad" }) } role="status" {
                                b { (if notice.good { "Done: " } else { "Not done: " }) } (notice.text)
                            }
                        }
                        (content)
                    }
                    (self.footer())
                }
            }
        };
        PreEscaped(unsteered(page.into_string()))
    }

    fn header(&self) -> Markup {
        html! {
            header class="top" {
                a class="home" href="/" {
                    img src=(assets::mark()) alt="" width="28" height="28";
                    span { b { "Stillpoint" } " " span class="site" { (self.site_code)
                        @if !self.site_name.is_empty() { " · " (self.site_name) } } }
                }
                @if self.person.is_some() {
                    div class="state" data-region="state" {
                        @if let Some(run) = &self.under_way {
                            a class="badge now" href={ "/runs/" (segment(&run.run)) } {
                                span aria-hidden="true" { "▶ " } (capital(&run.task)) " under way"
                            }
                        }
                    }
                    (self.navigation())
                }
            }
        }
    }

    fn navigation(&self) -> Markup {
        let more: &[_] = if self.may_administer() { &PAGES_OF_ADMINISTRATOR } else { &[] };
        html! {
            nav aria-label="Pages" data-region="navigation" {
                ul {
                    @for (place, path, name) in PAGES.iter().chain(more) {
                        li {
                            a href=(path) aria-current=[(*place == self.place).then_some("page")] {
                                (name)
                                @if *place == Place::Alerts && self.alerts_active > 0 {
                                    " " span class="count" { (self.alerts_active) span class="hidden" { " active" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            footer {
                form method="post" action="/theme" {
                    (forms::csrf(self))
                    input type="hidden" name="back" value=(self.path);
                    fieldset {
                        legend { "Colours" }
                        @for theme in Theme::ALL {
                            button type="submit" name="theme" value=(theme.as_str()) class="quiet"
                                aria-pressed=(if theme == self.theme { "true" } else { "false" }) { (capital(theme.as_str())) }
                        }
                    }
                }
                @if let Some(person) = &self.person {
                    form method="post" action="/sign-out" class="person" {
                        (forms::csrf(self))
                        span { (person.name) " (" (person.role) ")" }
                        button type="submit" class="quiet" { "Sign out" }
                    }
                }
                p { "Stillpoint " (self.version) " · times in " (self.zone.iana_name().unwrap_or("UTC")) }
            }
        }
    }
}
