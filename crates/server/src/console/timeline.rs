//! The phases of a run on a time line, and its freeze window to scale below: milliseconds in a run of minutes, so the window
//! has a lane of its own, magnified. Drawn without text, so that it fits any width; the words stand beside it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use stillpoint_history::{RunDetails, RunPhase, RunStep};
use stillpoint_model::{Level, Phase};

use super::words::length;

/// The width of the drawing, in its own units.
const WIDTH: f64 = 1000.0;

/// A stretch of a lane.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    /// What it is: the name of a phase or of a step.
    pub name: String,
    /// When it began, in microseconds since the lane did.
    pub from_us: u64,
    /// How long it took.
    pub us: u64,
}

/// The phases one after the other: they do not overlap.
pub(super) fn phases(phases: &[RunPhase]) -> Vec<Stretch> {
    let mut from_us = 0;
    let mut lane = Vec::new();
    for phase in phases {
        let us = phase.elapsed_us.unwrap_or(0);
        lane.push(Stretch { name: phase.phase.clone(), from_us, us });
        from_us += us;
    }
    lane
}

/// Where the steps of the freeze window lie in it, for each component: levels follow each other, the components of one level
/// act at the same time. The record has how long each took, not when it began; that follows from this order.
pub(super) fn window_steps(details: &RunDetails) -> BTreeMap<String, Vec<Stretch>> {
    let mut rows: BTreeMap<String, Vec<Stretch>> = BTreeMap::new();
    let mut from_us = 0;
    for (phase, step) in [(Phase::Freeze, "freeze"), (Phase::Snapshot, "cut"), (Phase::Thaw, "thaw")] {
        let of_step: Vec<&RunStep> = details.steps.iter().filter(|it| it.step == step).collect();
        let mut order: Vec<Option<String>> = Level::ALL.iter().map(|level| Some(level.to_string())).collect();
        if phase == Phase::Thaw {
            order.reverse();
        }
        order.push(None);
        let mut begin = from_us;
        for level in order {
            let mut longest = 0;
            for step in of_step.iter().filter(|it| it.level == level) {
                longest = longest.max(step.elapsed_us);
                let stretch = Stretch { name: step.step.clone(), from_us: begin, us: step.elapsed_us };
                rows.entry(step.component.clone()).or_default().push(stretch);
            }
            begin += longest;
        }
        let name = phase.to_string();
        let took = details.phases.iter().find(|it| it.phase == name).and_then(|it| it.elapsed_us);
        from_us += took.unwrap_or(0).max(begin - from_us);
    }
    rows
}

/// Both lanes: the phases of the run, and those in which the site stands still, magnified below their place. The freeze window
/// is a little shorter than they are together (it ends with the last thaw, the phase with its bookkeeping), and framed.
pub(super) fn drawing(details: &RunDetails, window_us: Option<u64>) -> Markup {
    let lane = phases(&details.phases);
    let whole = lane.iter().map(|it| it.from_us + it.us).max().unwrap_or(0).max(1);
    let still: Vec<&Stretch> = lane.iter().filter(|it| is_still(&it.name)).collect();
    let from = still.first().map_or(0, |it| it.from_us);
    let inside = still.iter().map(|it| it.us).sum::<u64>().max(window_us.unwrap_or(0)).max(1);
    let x = |at: u64| at as f64 / whole as f64 * WIDTH;
    let (left, right) = (x(from), x(from + inside).min(WIDTH));
    html! {
        svg class="lanes" viewBox="0 0 1000 132" preserveAspectRatio="none" role="img"
            aria-label="The phases on a time line; below it the freeze window, magnified. The tables have the same figures." {
            @for it in &lane { (rect(it, x(it.from_us), x(it.us), 0, 40)) }
            @if !still.is_empty() {
                polygon class="lens" points=(format!("{left:.2},40 {right:.2},40 1000,84 0,84")) {}
                line class="edge" x1=(format!("{left:.2}")) y1="40" x2="0" y2="84" {}
                line class="edge" x1=(format!("{right:.2}")) y1="40" x2="1000" y2="84" {}
                rect class="window" x=(format!("{left:.2}")) y="0" width=(format!("{:.2}", (right - left).max(2.0))) height="40" {}
                rect class="rail" x="0" y="84" width="1000" height="48" {}
                @for it in &still {
                    @let at = (it.from_us - from) as f64 / inside as f64 * WIDTH;
                    (rect(it, at, it.us as f64 / inside as f64 * WIDTH, 84, 48))
                }
                @if let Some(window) = window_us {
                    rect class="window" x="1" y="85" width=(format!("{:.2}", (window as f64 / inside as f64 * WIDTH - 2.0).max(1.0))) height="46" {}
                }
            }
        }
    }
}

fn rect(stretch: &Stretch, x: f64, width: f64, y: u32, height: u32) -> Markup {
    html! {
        rect class={ "phase " (class_of(&stretch.name)) } x=(format!("{x:.2}")) y=(y)
            width=(format!("{:.2}", width.max(1.0))) height=(height) {
            title { (stretch.name) ": " (length(stretch.us)) }
        }
    }
}

/// The steps of one component in the window, as a row.
pub(super) fn window_row(stretches: &[Stretch], window_us: u64) -> Markup {
    let x = |us: u64| us as f64 / window_us.max(1) as f64 * WIDTH;
    html! {
        svg class="row" viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true" {
            rect class="rail" x="0" y="0" width="1000" height="16" {}
            @for it in stretches { (rect(it, x(it.from_us), x(it.us), 2, 12)) }
        }
    }
}

/// The swatch beside a name, in the colour of the drawing.
pub(super) fn swatch(name: &str) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 10 10" aria-hidden="true" { rect class={ "phase " (class_of(name)) } width="10" height="10" {} }
    }
}

/// Whether the site stands still in this phase.
pub(super) fn is_still(phase: &str) -> bool {
    matches!(phase, "freeze" | "snapshot" | "thaw")
}

/// The class of a phase or step; a name that is not known has a plain one, whatever it holds.
fn class_of(name: &str) -> &'static str {
    match name {
        "preflight" => "preflight",
        "identify" => "identify",
        "prepare" | "poise" => "prepare",
        "freeze" => "freeze",
        "snapshot" | "cut" => "cut",
        "thaw" => "thaw",
        "capture" => "capture",
        "seal" => "seal",
        "after" | "release" => "after",
        _ => "other",
    }
}
