//! `/people`: who may do what, and the tokens of programs.

use maud::{Markup, html};
use stillpoint_history::{Person, Role, Token};

use super::words::{distance, segment, time};
use super::{Chrome, forms};

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct PeopleData {
    /// The people.
    pub people: Vec<Person>,
    /// The tokens.
    pub tokens: Vec<Token>,
    /// What was just made and is shown once: what it is, and the secret or link.
    pub fresh: Option<(String, String)>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &PeopleData) -> Markup {
    let content = html! {
        h1 { "People" }
        @if let Some((what, secret)) = &data.fresh {
            section class="card good" aria-labelledby="fresh" {
                h2 id="fresh" { (what) }
                p { "It is shown this once. Copy it now." }
                pre tabindex="0" { (secret) }
            }
        }
        (people(chrome, &data.people))
        (invite(chrome))
        (tokens(chrome, &data.tokens))
    };
    chrome.frame("People", &content)
}

fn roles(id: &str, chosen: Role) -> Markup {
    html! {
        select name="role" id=(id) {
            @for role in Role::ALL { option value=(role) selected[role == chosen] { (role) } }
        }
    }
}

fn people(chrome: &Chrome, people: &[Person]) -> Markup {
    let own = chrome.person.as_ref().map(|it| it.name.as_str());
    html! {
        section aria-labelledby="people" {
            h2 id="people" { "Who may sign in" }
            table class="stack" {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Added" } th scope="col" { "Last seen" }
                    th scope="col" { span class="hidden" { "Actions" } } } }
                tbody { @for (number, it) in people.iter().enumerate() {
                    @let id = format!("role-{number}");
                    @let base = format!("/people/{}", segment(&it.name));
                    tr {
                        th scope="row" data-label="Name" { (it.name) @if own == Some(&it.name) { span class="dim" { " (you)" } } }
                        td data-label="Role" {
                            form method="post" action={ (base) "/role" } class="inline" {
                                (forms::csrf(chrome))
                                label for=(id) class="hidden" { "Role of " (it.name) }
                                (roles(&id, it.role)) " "
                                button type="submit" { "Change" }
                            }
                        }
                        td data-label="Added" { (time(chrome, it.created)) }
                        td data-label="Last seen" { @match it.last_seen { Some(at) => (distance(chrome, at)), None => "never" } }
                        td data-label="Actions" { (forms::careful(chrome, &format!("{base}/remove"), "Remove", "Yes, remove", &[])) }
                    }
                } }
            }
        }
    }
}

fn invite(chrome: &Chrome) -> Markup {
    html! {
        section aria-labelledby="invite" {
            h2 id="invite" { "Invite somebody" }
            form method="post" action="/people/invite" class="line" {
                (forms::csrf(chrome))
                label for="invite-name" { "Name" } input type="text" id="invite-name" name="name" maxlength="64" required autocomplete="off";
                label for="invite-role" { "Role" } (roles("invite-role", Role::Reader))
                button type="submit" { "Make a one-time link" }
            }
        }
    }
}

fn tokens(chrome: &Chrome, tokens: &[Token]) -> Markup {
    html! {
        section aria-labelledby="tokens" {
            h2 id="tokens" { "Tokens" }
            p class="dim" { "For programs that use the API." }
            @if !tokens.is_empty() {
                table class="stack" {
                    thead { tr { th scope="col" { "For" } th scope="col" { "Role" } th scope="col" { "Made by" } th scope="col" { "Ends" }
                        th scope="col" { "Last used" } th scope="col" { span class="hidden" { "Actions" } } } }
                    tbody { @for it in tokens {
                        tr {
                            th scope="row" data-label="For" { (it.name) }
                            td data-label="Role" { (it.role) }
                            td data-label="Made by" { (it.person) }
                            td data-label="Ends" { (time(chrome, it.expires)) @if it.expires <= chrome.now { " (over)" } }
                            td data-label="Last used" { @match it.last_used { Some(at) => (distance(chrome, at)), None => "never" } }
                            td data-label="Actions" { (forms::careful(chrome, &format!("/tokens/{}/revoke", it.id), "Revoke", "Yes, revoke", &[])) }
                        }
                    } }
                }
            }
            form method="post" action="/tokens" class="line" {
                (forms::csrf(chrome))
                label for="token-name" { "For" } input type="text" id="token-name" name="name" maxlength="64" required autocomplete="off";
                label for="token-role" { "Role" } (roles("token-role", Role::Reader))
                label for="token-days" { "Days" } input type="number" id="token-days" name="days" min="1" max="400" value="365" required;
                button type="submit" { "Make a token" }
            }
        }
    }
}
