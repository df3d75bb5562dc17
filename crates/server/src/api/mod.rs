//! The JSON API.

use crate::web::Route;

pub fn routes() -> Vec<Route> {
    Vec::new()
}
