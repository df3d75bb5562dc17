//! What happens now, told to everybody who listens: the events of runs under way, changes of the queue and of alerts.

use std::sync::Arc;
use std::time::Duration;

use stillpoint_history::{Follower, History};
use tokio::sync::broadcast;

/// Something that listeners are told.
#[derive(Debug)]
pub struct Live {
    /// `run`, `queue` or `alert`.
    pub topic: &'static str,
    /// What happened, as JSON.
    pub json: String,
}

/// How many tellings wait for a slow listener before it misses some.
pub const BACKLOG: usize = 1024;

/// How often it is looked whether a run has begun, and what it did.
const EVERY: Duration = Duration::from_millis(400);

/// Tells the events of every run of the site, whoever started it, until the task is dropped.
pub async fn follow_runs(history: Arc<History>, live: broadcast::Sender<Arc<Live>>) {
    let mut followed: Vec<Followed> = Vec::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let history = history.clone();
        let step = tokio::task::spawn_blocking(move || look(&history, followed)).await;
        let Ok((now_followed, told)) = step else { return };
        followed = now_followed;
        for json in told {
            // Nobody may be listening.
            let _ = live.send(Arc::new(Live { topic: "run", json }));
        }
    }
}

struct Followed {
    run: String,
    follower: Follower,
}

fn look(history: &History, mut followed: Vec<Followed>) -> (Vec<Followed>, Vec<String>) {
    let mut told = Vec::new();
    let under_way = match history.under_way() {
        Ok(runs) => runs,
        Err(error) => {
            tracing::warn!("runs under way cannot be told: {error}");
            return (followed, told);
        }
    };
    for run in &under_way {
        if followed.iter().all(|known| known.run != run.name)
            && let Some(follower) = Follower::open(history.path(), &run.name)
        {
            followed.push(Followed { run: run.name.clone(), follower });
            told.push(about(&run.name, serde_json::json!({ "event": "begun", "task": run.task })));
        }
    }
    followed.retain_mut(|one| {
        // Read before it is judged: what was written before the end is told before it.
        let lines = one.follower.lines().unwrap_or_default();
        told.extend(lines.iter().filter_map(|line| event(&one.run, line)));
        let goes_on = under_way.iter().any(|run| run.name == one.run);
        if !goes_on {
            told.push(about(&one.run, serde_json::json!({ "event": "over" })));
        }
        goes_on
    });
    (followed, told)
}

fn event(run: &str, line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    (event["event"] != "process").then(|| about(run, event))
}

fn about(run: &str, mut event: serde_json::Value) -> String {
    event["of"] = run.into();
    event.to_string()
}
