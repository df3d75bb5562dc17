//! Tables that become a list of cards on a phone: there each cell shows the name of its column itself.

use maud::{Markup, html};

/// A column: its name, and the class of its cells (`number`, `path`, `who`, or none). The first one names the row.
pub(super) type Column = (&'static str, &'static str);

/// What a cell shows that has nothing to say. A phone leaves it out.
pub(super) const NOTHING: &str = "–";

/// A text in a cell, or that there is none.
pub(super) fn or_nothing(text: Option<String>) -> Markup {
    html! { @match text { Some(text) => (text), None => (NOTHING) } }
}

/// A table. A browser forgets that something is one when it is shown as cards, so every part says what it is.
pub(super) fn table(
    caption: &str,
    columns: &[Column],
    rows: impl IntoIterator<Item = Vec<Markup>>,
) -> Markup {
    html! {
        table class="stack" role="table" {
            @if !caption.is_empty() { caption { (caption) } }
            thead role="rowgroup" {
                tr role="row" {
                    @for (name, class) in columns {
                        th scope="col" role="columnheader" class=[class_of(class, false)] { (name) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (number, (cell, (name, class))) in row.iter().zip(columns).enumerate() {
                            @let class = class_of(class, cell.0 == NOTHING);
                            @if number == 0 {
                                th scope="row" role="rowheader" data-label=(name) class=[class] { (cell) }
                            } @else {
                                td role="cell" data-label=(name) class=[class] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class_of(class: &str, is_nothing: bool) -> Option<String> {
    let classes = [class, if is_nothing { "none" } else { "" }];
    let classes: Vec<&str> = classes.into_iter().filter(|it| !it.is_empty()).collect();
    (!classes.is_empty()).then(|| classes.join(" "))
}
