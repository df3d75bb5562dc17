//! `/sign-in`, and `/welcome/{secret}`: the one-time link of the first administrator and of who was invited.

use maud::{Markup, html};

use super::words::segment;
use super::{Chrome, forms};

/// What the sign-in page shows.
#[derive(Debug, Clone, Default)]
pub struct SignInData {
    /// The name that was tried.
    pub name: String,
    /// Why it was refused.
    pub error: Option<String>,
    /// The page to go to then.
    pub next: String,
    /// There is nobody yet: the service has told the one-time link of the first administrator.
    pub nobody_yet: bool,
}

/// The sign-in page.
pub fn page(chrome: &Chrome, data: &SignInData) -> Markup {
    let content = html! {
        section class="card door" {
            h1 { "Sign in" }
            @if data.nobody_yet {
                p { "Nobody can sign in yet. Open the one-time link that the service told when it started, or make a new one: "
                    code { "stillpoint console reset-link" } "." }
            }
            (refusal(data.error.as_deref()))
            @if !data.nobody_yet { form method="post" action="/sign-in" class="rows" {
                (forms::csrf(chrome))
                input type="hidden" name="next" value=(data.next);
                label for="name" { "Name" }
                input type="text" id="name" name="name" value=(data.name) required autocomplete="username" autocapitalize="none"
                    autofocus[data.name.is_empty()];
                label for="password" { "Password" }
                input type="password" id="password" name="password" required autocomplete="current-password"
                    autofocus[!data.name.is_empty()];
                button type="submit" class="primary" { "Sign in" }
            } }
        }
    };
    chrome.frame("Sign in", &content)
}

/// What the page of a one-time link shows.
#[derive(Debug, Clone)]
pub struct WelcomeData {
    /// The secret of the link.
    pub secret: String,
    /// The role that the person will have.
    pub role: String,
    /// The name, where the link is for one.
    pub name: String,
    /// Whether another name may be chosen.
    pub name_is_free: bool,
    /// The fewest characters of a password.
    pub password_min: usize,
    /// Why it was refused.
    pub error: Option<String>,
}

/// The page of a one-time link.
pub fn welcome(chrome: &Chrome, data: &WelcomeData) -> Markup {
    let content = html! {
        section class="card door" {
            h1 { "Welcome" }
            p { "This link works once. It makes you " b { (data.role) } " of site " (chrome.site_code) "." }
            (refusal(data.error.as_deref()))
            form method="post" action={ "/welcome/" (segment(&data.secret)) } class="rows" {
                label for="name" { "Name" }
                input type="text" id="name" name="name" value=(data.name) required maxlength="64" autocomplete="username"
                    autocapitalize="none" readonly[!data.name_is_free];
                label for="password" { "Password, at least " (data.password_min) " characters" }
                input type="password" id="password" name="password" required minlength=(data.password_min) autocomplete="new-password";
                label for="again" { "The password again" }
                input type="password" id="again" name="again" required minlength=(data.password_min) autocomplete="new-password";
                button type="submit" class="primary" { "Begin" }
            }
        }
    };
    chrome.frame("Welcome", &content)
}

fn refusal(error: Option<&str>) -> Markup {
    html! { @if let Some(error) = error { p class="notice bad" role="alert" { b { "Not done: " } (error) } } }
}
