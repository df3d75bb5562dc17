//! Parts of forms.

use maud::{Markup, html};

use super::Chrome;

/// The field that proves that the form is ours.
pub(super) fn csrf(chrome: &Chrome) -> Markup {
    html! { input type="hidden" name="csrf" value=(chrome.csrf); }
}

/// As [`button`], for what cannot be taken back: the first press only asks. Works without scripts.
pub(super) fn careful(
    chrome: &Chrome,
    action: &str,
    label: &str,
    sure: &str,
    fields: &[(&str, &str)],
) -> Markup {
    html! {
        details class="careful" {
            summary { (label) }
            (button(chrome, action, sure, "danger", fields))
        }
    }
}

/// Cancels the run under way.
pub(super) fn cancel(chrome: &Chrome, job: u64) -> Markup {
    careful(chrome, "/tasks/cancel", "Cancel the run", "Yes, cancel it", &[("job", &job.to_string())])
}

/// A form that is one button, with fields that are not seen.
pub(super) fn button(
    chrome: &Chrome,
    action: &str,
    label: &str,
    class: &str,
    fields: &[(&str, &str)],
) -> Markup {
    html! {
        form method="post" action=(action) class="inline" {
            (csrf(chrome))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button type="submit" class=[(!class.is_empty()).then_some(class)] { (label) }
        }
    }
}
