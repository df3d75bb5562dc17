//! Who looks at a page, and how: what stands around every page is made from that.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::Markup;

use crate::access::Caller;
use crate::api::active;
use crate::console::error::{self, ErrorData};
use crate::console::words::capital;
use crate::console::{Chrome, Notice, Place, Theme, UnderWay, Visitor, site_facts};
use crate::web::{App, Problem, cookie, set_cookie};

/// The cookies with the colours, and with what came of the last form.
const THEME: &str = "stillpoint-theme";
const NOTICE: &str = "stillpoint-notice";

/// For how long the next page may say what came of a form, and for how long the colours are remembered, in seconds.
const NOTICE_S: i64 = 60;
const THEME_S: i64 = 365 * 24 * 3600;

/// Who looks, and how.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    caller: Option<Caller>,
    path: String,
    theme: Theme,
    notice: Option<Done>,
}

/// What came of a form. The cookie names only which: no text of a stranger gets onto a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Asked,
    Cancelled,
    Postponed,
    Cleared,
    Tested,
    TestFailed,
    Restoring,
    RoleChanged,
    PersonRemoved,
    TokenRevoked,
}

impl Done {
    const ALL: [Done; 10] = [
        Done::Asked,
        Done::Cancelled,
        Done::Postponed,
        Done::Cleared,
        Done::Tested,
        Done::TestFailed,
        Done::Restoring,
        Done::RoleChanged,
        Done::PersonRemoved,
        Done::TokenRevoked,
    ];

    fn word(self) -> &'static str {
        match self {
            Done::Asked => "asked",
            Done::Cancelled => "cancelled",
            Done::Postponed => "postponed",
            Done::Cleared => "cleared",
            Done::Tested => "tested",
            Done::TestFailed => "test-failed",
            Done::Restoring => "restoring",
            Done::RoleChanged => "role-changed",
            Done::PersonRemoved => "person-removed",
            Done::TokenRevoked => "token-revoked",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Done::Asked => "it is in the queue, and begins when nothing else runs.",
            Done::Cancelled => "it was taken out of the queue, or told to end.",
            Done::Postponed => "the alert is silent until then.",
            Done::Cleared => "the alert is cleared.",
            Done::Tested => "every channel took the test.",
            Done::TestFailed => "not every channel took the test; why stands with the channels.",
            Done::Restoring => {
                "the restore is in the queue; the data come into their new folder on the server."
            }
            Done::RoleChanged => "the role is changed.",
            Done::PersonRemoved => "the person can no longer sign in.",
            Done::TokenRevoked => "the token is good for nothing from now on.",
        }
    }
}

impl Look {
    /// What a request says, not yet of whom it is.
    pub(crate) fn from_outside(request: &Request) -> Self {
        Self::new(request.method(), request.uri(), request.headers())
    }

    fn new(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        // Back to a page, never to a form.
        let path = match *method {
            Method::GET => uri.path_and_query().map_or("/", |path| path.as_str()),
            _ => "/",
        };
        // The script asks for the page again, too; what it gets is not read by anybody.
        let navigates = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
        let told = cookie(headers, NOTICE).filter(|_| navigates && *method == Method::GET);
        Self {
            caller: None,
            path: path.to_owned(),
            theme: Theme::named(cookie(headers, THEME).unwrap_or_default()),
            notice: told.and_then(|word| Done::ALL.into_iter().find(|done| done.word() == word)),
        }
    }

    /// The same look of this person.
    pub(crate) fn of(self, caller: Option<Caller>) -> Self {
        Self { caller, ..self }
    }

    /// The same look, to come back to this path.
    pub(crate) fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// What stands around a page.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub(crate) async fn chrome(&self, app: &App, place: Place) -> Result<Chrome, Problem> {
        let chrome = self.bare(app, place);
        if self.caller.is_none() {
            return Ok(chrome);
        }
        let (alerts_active, under_way) =
            app.service.with_history(|history| Ok((active(history)?, history.under_way()?.pop()))).await?;
        let under_way = under_way.map(|run| UnderWay { run: run.name, task: run.task.to_string() });
        Ok(Chrome { alerts_active, under_way, ..chrome })
    }

    /// The same without a look into the history.
    fn bare(&self, app: &App, place: Place) -> Chrome {
        let view = app.service.site();
        let site = &view.site.file;
        let visitor = |it: &Caller| Visitor { name: it.name.clone(), role: it.role };
        Chrome {
            site_code: site.site.code.to_string(),
            site_name: site.site.name.clone(),
            zone: site_facts::zone(site),
            now: app.access.now(),
            person: self.caller.as_ref().map(visitor),
            csrf: self.caller.as_ref().map_or("", Caller::csrf).to_owned(),
            place,
            path: self.path.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            alerts_active: 0,
            under_way: None,
            theme: self.theme,
            notice: self
                .notice
                .map(|done| Notice { good: done != Done::TestFailed, text: done.text().to_owned() }),
        }
    }

    /// A page as an answer. What came of a form was said with it, and is not said again.
    pub(super) fn answer(&self, app: &App, page: Markup) -> Response {
        let mut response = page.into_response();
        if self.notice.is_some() {
            set_cookie(app, &mut response, NOTICE, "", 0);
        }
        response
    }
}

impl FromRequestParts<App> for Look {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Self::Rejection> {
        let look = Self::new(&parts.method, &parts.uri, &parts.headers);
        Ok(look.of(parts.extensions.get::<Caller>().cloned()))
    }
}

/// To the next page, which says what came of a form.
pub(super) fn then(app: &App, path: &str, done: Done) -> Response {
    let mut response = Redirect::to(path).into_response();
    set_cookie(app, &mut response, NOTICE, done.word(), NOTICE_S);
    response
}

/// Back to a page, in these colours from now on.
pub(super) fn in_colours(app: &App, path: &str, theme: Theme) -> Response {
    let mut response = Redirect::to(path).into_response();
    set_cookie(app, &mut response, THEME, theme.as_str(), THEME_S);
    response
}

/// What went wrong, as a page.
pub(crate) async fn problem_page(app: &App, look: &Look, problem: &Problem) -> Markup {
    let look = Look { notice: None, ..look.clone() };
    // A page that says that the history fails must not need it.
    let chrome = match look.chrome(app, Place::Elsewhere).await {
        Ok(chrome) => chrome,
        Err(_) => look.bare(app, Place::Elsewhere),
    };
    let data = ErrorData {
        status: problem.status,
        what: sentence(&problem.detail),
        why: String::new(),
        remedy: sentence(&problem.hint),
    };
    error::page(&chrome, &data)
}

fn sentence(text: &str) -> String {
    let text = capital(text.trim());
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text } else { text + "." }
}
