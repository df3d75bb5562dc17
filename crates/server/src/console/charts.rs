//! `/charts`: how the freeze window, the size, the duration and what archives save develop over the last runs.

use jiff::Timestamp;
use maud::{Markup, html};
use stillpoint_model::Outcome;

use super::Chrome;
use super::tables::{Column, or_nothing, table};
use super::words::{self, bytes, length, segment, time};

/// One run of the backup task that ended.
#[derive(Debug, Clone)]
pub struct ChartPoint {
    /// The run.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// Its verdict.
    pub outcome: Outcome,
    /// How long the site stood still, in microseconds.
    pub window_us: Option<u64>,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Bytes in the set.
    pub bytes: Option<u64>,
    /// The share of the set's bytes that the archives did not have to store again, from 0 to 1.
    pub saved: Option<f64>,
}

/// What the page shows: oldest first.
#[derive(Debug, Clone, Default)]
pub struct ChartsData {
    /// The runs.
    pub points: Vec<ChartPoint>,
}

/// The height of a drawing in its own units; the width is that of a run times their number.
const HEIGHT: f64 = 100.0;

struct Series {
    id: &'static str,
    name: &'static str,
    value: fn(&ChartPoint) -> Option<f64>,
    shown: fn(f64) -> String,
    /// The top of the scale, when it is not the greatest value.
    top: Option<f64>,
}

const SERIES: [Series; 4] = [
    Series {
        id: "window",
        name: "Freeze window",
        value: |point| point.window_us.map(|us| us as f64),
        shown: |value| length(value as u64),
        top: None,
    },
    Series {
        id: "size",
        name: "Size of the set",
        value: |point| point.bytes.map(|bytes| bytes as f64),
        shown: |value| bytes(value as u64),
        top: None,
    },
    Series {
        id: "duration",
        name: "Duration",
        value: |point| Some(point.took_us as f64),
        shown: |value| length(value as u64),
        top: None,
    },
    Series {
        id: "saved",
        name: "Not stored again in archives",
        value: |point| point.saved,
        shown: |value| format!("{:.1} %", value * 100.0),
        top: Some(1.0),
    },
];

/// The page.
pub fn page(chrome: &Chrome, data: &ChartsData) -> Markup {
    let content = html! {
        h1 { "Charts" }
        @if data.points.is_empty() {
            p class="empty" { "There is nothing to draw before the first run has ended." }
        } @else {
            p class="dim" { "The last " @if data.points.len() > 1 { (words::count(data.points.len() as u64)) " runs" } @else { "run" }
                " of the backup task, the newest at the right. "
                (sign(Outcome::Complete)) "complete, " (sign(Outcome::Incomplete)) "incomplete (hollow), "
                (sign(Outcome::Failed)) "failed (marked at the top)." }
            div class="charts" { @for series in &SERIES { (chart(chrome, series, &data.points)) } }
            (figures(chrome, &data.points))
        }
    };
    chrome.frame("Charts", &content)
}

fn sign(outcome: Outcome) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 10 10" aria-hidden="true" {
            @if outcome == Outcome::Failed { (failed_at(0)) } @else { rect class={ "point " (class_of(outcome)) } x="1" y="1" width="8" height="8" {} }
        }
    }
}

fn class_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "good",
        Outcome::Incomplete => "look",
        Outcome::Failed => "bad",
    }
}

/// The mark of a run that failed, at the top, because it may have no bar.
fn failed_at(x: usize) -> Markup {
    html! { polygon class="point bad" points=(format!("{x},0 {},0 {},10", x + 10, x + 5)) {} }
}

fn chart(chrome: &Chrome, series: &Series, points: &[ChartPoint]) -> Markup {
    let values: Vec<Option<f64>> = points.iter().map(series.value).collect();
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let top = series.top.unwrap_or_else(|| known.iter().copied().fold(0.0, f64::max));
    let id = format!("chart-{}", series.id);
    html! {
        figure aria-labelledby=(id) {
            figcaption id=(id) {
                b { (series.name) }
                @if let Some(last) = known.last() { " " span class="dim" { "last " ((series.shown)(*last)) } }
            }
            @if known.is_empty() { p class="empty" { "Nothing is known of it yet." } } @else {
                p class="scale" { (((series.shown)(top))) }
                svg class="chart" viewBox=(format!("0 0 {} 100", points.len() * 10)) preserveAspectRatio="none" role="img"
                    aria-label={ (series.name) " of " (points.len()) " runs, from " ((series.shown)(known.iter().copied().fold(f64::MAX, f64::min)))
                        " to " ((series.shown)(known.iter().copied().fold(0.0, f64::max))) ". The table below has the figures." } {
                    @for line in [0, 50, 100] { line class="grid" x1="0" x2=(points.len() * 10) y1=(line) y2=(line) {} }
                    @for (number, (point, value)) in points.iter().zip(&values).enumerate() {
                        (bar(chrome, series, number, point, *value, top))
                    }
                }
                p class="ends" {
                    @if let Some(first) = points.first() { span { (day(chrome, first.started)) } }
                    @if let Some(last) = points.last() { span { (day(chrome, last.started)) } }
                }
            }
        }
    }
}

fn day(chrome: &Chrome, at: Timestamp) -> String {
    at.to_zoned(chrome.zone.clone()).strftime("%-d %b %Y").to_string()
}

/// The bar of one run. The verdict is told by shape, too: filled, hollow, or with a mark at the top.
fn bar(
    chrome: &Chrome,
    series: &Series,
    number: usize,
    point: &ChartPoint,
    value: Option<f64>,
    top: f64,
) -> Markup {
    let height = value.map_or(0.0, |value| if top > 0.0 { (value / top * HEIGHT).max(1.0) } else { 0.0 });
    let words = value.map_or("not known".to_owned(), series.shown);
    html! {
        g {
            title { (words::local(chrome, point.started)) ": " (words) ", " (point.outcome) }
            @if value.is_some() {
                rect class={ "point " (class_of(point.outcome)) } x=(number * 10 + 1) y=(format!("{:.1}", HEIGHT - height)) width="8"
                    height=(format!("{height:.1}")) {}
            }
            @if point.outcome == Outcome::Failed { (failed_at(number * 10)) }
        }
    }
}

fn figures(chrome: &Chrome, points: &[ChartPoint]) -> Markup {
    let mut columns: Vec<Column> = vec![("Run", ""), ("Outcome", "")];
    columns.extend(SERIES.iter().map(|series| (series.name, "number")));
    let row = |point: &ChartPoint| {
        let run = html! { a href={ "/runs/" (segment(&point.run)) } { (time(chrome, point.started)) } };
        let mut cells = vec![run, words::outcome(Some(point.outcome))];
        cells.extend(SERIES.iter().map(|series| or_nothing((series.value)(point).map(series.shown))));
        cells
    };
    html! {
        details class="figures" {
            summary { "The figures as a table" }
            (table("", &columns, points.iter().rev().map(row)))
        }
    }
}
