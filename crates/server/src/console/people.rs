//! `/people`: who may do what, and the tokens of programs.

use maud::{Markup, html};
use stillpoint_history::{Person, Role, Token};

use super::tables::{Column, table};
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
    let columns: &[Column] = &[("Name", ""), ("Role", ""), ("Added", ""), ("Last seen", ""), ("Let go", "")];
    let row = |(number, it): (usize, &Person)| {
        let (id, base) = (format!("role-{number}"), format!("/people/{}", segment(&it.name)));
        vec![
            html! { (it.name) @if own == Some(&it.name) { span class="dim" { " (you)" } } },
            html! {
                form method="post" action={ (base) "/role" } class="inline" {
                    (forms::csrf(chrome))
                    label for=(id) class="hidden" { "Role of " (it.name) }
                    (roles(&id, it.role)) " "
                    button type="submit" { "Change" }
                }
            },
            time(chrome, it.created),
            html! { @match it.last_seen { Some(at) => (distance(chrome, at)), None => "never" } },
            forms::careful(chrome, &format!("{base}/remove"), "Remove", "Yes, remove", &[]),
        ]
    };
    html! {
        section aria-labelledby="people" {
            h2 id="people" { "Who may sign in" }
            (table("", columns, people.iter().enumerate().map(row)))
        }
    }
}

fn invite(chrome: &Chrome) -> Markup {
    html! {
        section aria-labelledby="invite" {
            h2 id="invite" { "Invite somebody" }
            form method="post" action="/people/invite" class="line" {
                (forms::csrf(chrome))
                span class="together" { label for="invite-name" { "Name" } input type="text" id="invite-name" name="name" maxlength="64" required autocomplete="off"; }
                span class="together" { label for="invite-role" { "Role" } (roles("invite-role", Role::Reader)) }
                button type="submit" { "Make a one-time link" }
            }
        }
    }
}

fn tokens(chrome: &Chrome, tokens: &[Token]) -> Markup {
    let columns: &[Column] =
        &[("For", ""), ("Role", ""), ("Made by", "who"), ("Ends", ""), ("Last used", ""), ("Let go", "")];
    let row = |it: &Token| {
        vec![
            html! { (it.name) },
            html! { (it.role) },
            html! { (it.person) },
            html! { (time(chrome, it.expires)) @if it.expires <= chrome.now { " (over)" } },
            html! { @match it.last_used { Some(at) => (distance(chrome, at)), None => "never" } },
            forms::careful(chrome, &format!("/tokens/{}/revoke", it.id), "Revoke", "Yes, revoke", &[]),
        ]
    };
    html! {
        section aria-labelledby="tokens" {
            h2 id="tokens" { "Tokens" }
            p class="dim" { "For programs that use the API." }
            @if !tokens.is_empty() { (table("", columns, tokens.iter().map(row))) }
            form method="post" action="/tokens" class="line" {
                (forms::csrf(chrome))
                span class="together" { label for="token-name" { "For" } input type="text" id="token-name" name="name" maxlength="64" required autocomplete="off"; }
                span class="together" { label for="token-role" { "Role" } (roles("token-role", Role::Reader)) }
                span class="together" { label for="token-days" { "Days" } input type="number" id="token-days" name="days" min="1" max="400" value="365" required; }
                button type="submit" { "Make a token" }
            }
        }
    }
}
