//! The JSON API below `/api/v1`, and its description as OpenAPI 3.1, made from the same table.
//!
//! What goes out are types of this module, not those of the history: what a program of somebody reads must not change because a table
//! does. Times are RFC 3339 in UTC, lengths of time microseconds or seconds as their names say, sizes bytes.

mod alerts;
mod document;
mod events;
pub(crate) mod extract;
mod messages;
mod people;
mod queue;
mod runs;
mod site;
mod tokens;
mod versions;

use stillpoint_history::Role;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

pub(crate) use alerts::{clear_with, postpone_until};
pub use document::document;
pub(crate) use queue::{PlainTask, ask_for, cancel_job};
pub(crate) use site::active;
pub(crate) use versions::{
    Entry, Version, archive_of, ask_to_restore, download, entries_in, path_of, version_of, versions_in,
};

use crate::web::{App, Least, Route};

/// One route of the API with its description.
struct Row {
    least: Role,
    described: UtoipaMethodRouter<App>,
}

fn row(least: Role, described: UtoipaMethodRouter<App>) -> Row {
    Row { least, described }
}

/// The rows of the table of routes for the API. Method and path come from the description of each.
fn rows() -> Vec<Row> {
    use Role::{Administrator, Operator, Reader};
    vec![
        row(Reader, routes!(document::openapi)),
        row(Reader, routes!(site::status)),
        row(Reader, routes!(site::schedule)),
        row(Reader, routes!(site::components)),
        row(Reader, routes!(runs::list)),
        row(Reader, routes!(runs::one)),
        row(Reader, routes!(messages::of_run)),
        row(Reader, routes!(messages::list)),
        row(Reader, routes!(alerts::list)),
        row(Operator, routes!(alerts::postpone)),
        row(Operator, routes!(alerts::clear)),
        row(Reader, routes!(queue::show)),
        row(Operator, routes!(queue::add)),
        row(Operator, routes!(queue::cancel)),
        row(Reader, routes!(events::stream)),
        row(Reader, routes!(versions::list)),
        row(Reader, routes!(versions::entries)),
        row(Administrator, routes!(versions::file)),
        row(Administrator, routes!(versions::restore)),
        row(Reader, routes!(people::me)),
        row(Reader, routes!(people::change_password)),
        row(Administrator, routes!(people::list)),
        row(Administrator, routes!(people::invite)),
        row(Administrator, routes!(people::change_role)),
        row(Administrator, routes!(people::remove)),
        row(Administrator, routes!(tokens::list)),
        row(Administrator, routes!(tokens::make)),
        row(Administrator, routes!(tokens::remove)),
        row(Administrator, routes!(people::audit)),
    ]
}

/// The part of the table of routes that is the API.
pub(crate) fn routes() -> Vec<Route> {
    let route = |row: Row| {
        let (_, paths, handler) = row.described;
        // One handler has one path and one method.
        let (path, item) = paths.paths.into_iter().next()?;
        let (method, _) = document::operations(item).into_iter().next()?;
        Some(Route::with(method, &path, Least::Role(row.least), handler))
    };
    rows().into_iter().filter_map(route).collect()
}

/// The most that one answer lists, and what it lists when nothing is asked for.
const LIMIT_MAX: u16 = 1000;
const LIMIT_USUAL: u16 = 100;

/// How many are asked for.
fn limit_of(limit: Option<u16>) -> Result<usize, crate::web::Problem> {
    let limit = limit.unwrap_or(LIMIT_USUAL);
    if limit == 0 || limit > LIMIT_MAX {
        let detail = format!("limit is {limit}");
        return Err(crate::web::Problem::bad_request(detail, format!("give a number from 1 to {LIMIT_MAX}")));
    }
    Ok(usize::from(limit))
}
