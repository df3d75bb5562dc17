//! What must be there before a run can begin: the journal, the guard, a thread for each participant.

use super::*;

impl Driver {
    /// Opens the journal, starts the guard and the threads. Nothing was done to the site when this fails.
    pub(super) fn begin(
        settings: RunSettings,
        participants: Vec<Participant>,
        names: Vec<ComponentName>,
        stage: Arc<dyn Stage>,
    ) -> Result<Self, Refused> {
        let refuse =
            |what: &str, reason: String| Box::new((words::cannot_begin(what, reason), names.clone()));
        let (journal, first) = open_journal(&settings).map_err(|reason| refuse("the journal", reason))?;
        let journal = Arc::new(journal);
        let guard = start_guard(&settings).map_err(|reason| {
            // The run is over before it began; what could not be written is told by the caller.
            let record = Record::RunEnded { failure: Some(reason.clone()), not_undone: Vec::new() };
            let _ = journal.append(record, Sync::Before);
            refuse("the guard", reason)
        })?;
        let intents = Arc::new(Intents::new(journal.clone(), guard, first));
        let monitor = Arc::new(QuietMonitor::new(settings.monitor.clone()));
        let (tell, told) = unbounded();
        let known = participants.iter().map(|it| Known {
            name: it.component.clone(),
            level: it.level,
            description: None,
            captured: None,
        });
        let known = known.collect();
        let workspaces = participants.iter().map(|it| it.workspace.clone()).collect();
        let (machine, acts) = Machine::start(participants.len());
        debug_assert_eq!(acts, [Act::Preflight]);
        let mut actors = Vec::new();
        for (who, participant) in participants.into_iter().enumerate() {
            let started = start_actor(who, participant, &settings, &intents, &monitor, &tell);
            actors.push(started.map_err(|error| refuse("a thread for a component", error.to_string()))?);
        }
        Ok(Self {
            settings,
            stage,
            apart: apart::Apart::default(),
            names,
            known,
            workspaces,
            actors,
            machine,
            intents,
            journal,
            monitor,
            tell,
            told,
            pending: Vec::new(),
            queue: VecDeque::new(),
            phase: None,
            phases: Vec::new(),
            window: None,
            window_length: None,
            extend: false,
            cut_at: None,
            guard_lost: false,
            cancelled: false,
            failure: None,
            not_undone: Vec::new(),
        })
    }
}

/// Begins the journal of this run. What an earlier run left lying about is carried over; what still holds the site is
/// not: no run begins on a site that stands still. Answers the first free ticket as well.
fn open_journal(settings: &RunSettings) -> Result<(Journal, u64), String> {
    let found = journal::read(settings.state.path()).map_err(|error| error.to_string())?.unwrap_or_default();
    let left = found.unsettled();
    if let Some((_, _, undo)) = left.iter().find(|(_, _, undo)| undo.urgency() == Urgency::Thaw) {
        return Err(format!("an earlier run left this to be done first: {undo}"));
    }
    let begun = Record::RunBegun {
        site: settings.site.clone(),
        run: settings.run.clone(),
        epoch: settings.epoch,
        process: std::process::id(),
        boot: boot_id(),
    };
    let count = left.len() as u64;
    let carried =
        (1..).zip(left).map(|(ticket, (_, component, undo))| Record::Intent { ticket, component, undo });
    let first = std::iter::once(begun).chain(carried).collect();
    settings.hook.before("journal")?;
    let journal = Journal::begin(settings.state.path(), first).map_err(|error| error.to_string())?;
    settings.hook.after("journal")?;
    Ok((journal, count + 1))
}

fn start_guard(settings: &RunSettings) -> Result<Guard, String> {
    settings.hook.before("guard")?;
    let guard = Guard::start(&settings.guard, &settings.run, settings.state.path())?;
    if let Err(reason) = settings.hook.after("guard") {
        guard.goodbye();
        return Err(reason);
    }
    Ok(guard)
}

fn start_actor(
    who: usize,
    participant: Participant,
    settings: &RunSettings,
    intents: &Arc<Intents>,
    monitor: &Arc<QuietMonitor>,
    ended: &Sender<Ended>,
) -> std::io::Result<Actor> {
    let abandoned = Arc::new(AtomicBool::new(false));
    let component = participant.component;
    let undos = OwnIntents {
        intents: intents.clone(),
        owner: Some(who),
        component: Some(component.clone()),
        abandoned: abandoned.clone(),
    };
    let context = Context {
        site: settings.site.clone(),
        run: settings.run.clone(),
        component,
        workspace: participant.workspace,
        previous: participant.previous,
        undos: Arc::new(undos),
        monitor: monitor.clone(),
        cancel: Cancel::default(),
    };
    let part = Part {
        who,
        writer: participant.writer,
        context,
        intents: intents.clone(),
        hook: settings.hook.clone(),
        ended: ended.clone(),
        thaw: settings.deadlines.thaw.duration(),
    };
    Actor::start(part, abandoned)
}
