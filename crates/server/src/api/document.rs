//! The description of the API.

use axum::http::{Method, header};
use axum::response::IntoResponse;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;

use crate::web::{PROBLEM_JSON, Problem};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Stillpoint",
        description = "What the console of a site shows and does, for programs. Times are RFC 3339 in UTC. Every error is a problem of RFC 9457. What may change: fields are only ever added; what is removed or means something else gets another path than /api/v1.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        contact(),
    ),
    servers((url = "/", description = "The console that serves this document")),
    components(schemas(Problem)),
    tags(
        (name = "site", description = "How the site is"),
        (name = "runs", description = "What happened"),
        (name = "alerts", description = "What a person must know of"),
        (name = "queue", description = "What is done, and what waits"),
        (name = "versions", description = "What can be restored"),
        (name = "people", description = "Who may do what"),
    ),
)]
struct Frame;

/// The whole document.
pub fn document() -> OpenApi {
    let mut router = OpenApiRouter::<crate::web::App>::with_openapi(Frame::openapi());
    for row in super::rows() {
        let (schemas, mut paths, handler) = row.described;
        for item in paths.paths.values_mut() {
            each_operation(item, |operation| complete(operation, row.least.as_str()));
        }
        router = router.routes((schemas, paths, handler));
    }
    let mut document = router.into_openapi();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token that an administrator made, such as sp_..."))
        .build();
    let session = ApiKeyValue::with_description(
        "stillpoint-CODE",
        "The session of a browser, with the code of the site (and the prefix __Host- with TLS). What changes something needs the header x-csrf-token, too.",
    );
    let parts = document.components.get_or_insert_default();
    parts.add_security_scheme("token", SecurityScheme::Http(token));
    parts.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    let either = ["token", "session"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
    document.security = Some(either.to_vec());
    document
}

/// What all operations have: the least role, and that every error is a problem.
fn complete(operation: &mut Operation, role: &str) {
    let text = operation.description.take().unwrap_or_default();
    operation.description = Some(format!("{text}\n\nLeast role: {role}.").trim().to_owned());
    for (status, text) in [
        ("400", "What was sent cannot be understood"),
        ("401", "No session or token, or one that is over"),
        ("403", "The role is too low, or the secret of the session is missing"),
        ("default", "Anything else that went wrong"),
    ] {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(text).content(PROBLEM_JSON, problem).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(Required::True);
    }
}

fn each_operation(item: &mut PathItem, mut change: impl FnMut(&mut Operation)) {
    let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
    all.into_iter().flatten().for_each(&mut change);
}

/// What a path of the document can do.
pub(super) fn operations(item: PathItem) -> Vec<(Method, Operation)> {
    let all = [
        (Method::GET, item.get),
        (Method::POST, item.post),
        (Method::PUT, item.put),
        (Method::DELETE, item.delete),
        (Method::PATCH, item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation?))).collect()
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "site",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn openapi() -> Result<impl IntoResponse, Problem> {
    let text = document().to_json().map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}
