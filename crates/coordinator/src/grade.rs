//! The final grades of a run's components: what each says of itself, lowered by what is known of the whole site.
//!
//! [`Grade::Frozen`] claims that no operation of an application was under way. A writer of files or of a database cannot
//! know that; it only knows that nothing changed under its cut. So:
//!
//! 1. Was an application only *held* where it happened to be ([`Quieting::Hold`]), an operation of it may lie across any
//!    of the stores (the row is committed, its file is not written yet): nothing in the set is better than
//!    [`Grade::Crash`].
//! 2. Did all applications come to *rest* ([`Quieting::Rest`]), each component's own grade stands.
//! 3. Does the site have no service at all, nobody brought the programs to rest that write to its file trees: those are
//!    [`Grade::Crash`] at best, however atomic the snapshot was. A database by itself knows its transactions: its own
//!    grade stands.

use stillpoint_model::{Description, Grade, Quieting};

/// The name by which file trees' writer calls itself in [`Description::writer`].
const FILES: &str = "files";

/// The final grade of a component that says `own` of itself, in a site of components described by `all`.
pub(crate) fn final_grade<'a>(
    own: Grade,
    component: &Description,
    all: impl Iterator<Item = &'a Description>,
) -> Grade {
    let (mut services, mut held) = (false, false);
    for quieting in all.filter_map(|description| description.quieting) {
        services = true;
        held |= quieting == Quieting::Hold;
    }
    let lowered = held || (!services && component.writer == FILES);
    if lowered { own.min(Grade::Crash) } else { own }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::Level;

    use super::*;

    fn described(writer: &str, quieting: Option<Quieting>) -> Description {
        Description {
            writer: writer.to_owned(),
            level: Level::System,
            quieting,
            estimate_bytes: None,
            sources: Vec::new(),
            facts: serde_json::Value::Null,
        }
    }

    fn graded(own: Grade, writer: &str, services: &[Quieting]) -> Grade {
        let component = described(writer, None);
        let all: Vec<_> = services.iter().map(|&it| described("service", Some(it))).collect();
        final_grade(own, &component, all.iter().chain([&component]))
    }

    #[test]
    fn one_application_that_was_only_held_lowers_the_whole_set_to_crash() {
        for writer in ["files", "sqlite", "postgres"] {
            assert_eq!(graded(Grade::Frozen, writer, &[Quieting::Rest, Quieting::Hold]), Grade::Crash);
        }
    }

    #[test]
    fn applications_that_came_to_rest_leave_each_grade_as_it_is() {
        for own in [Grade::Fuzzy, Grade::Crash, Grade::Frozen] {
            assert_eq!(graded(own, "files", &[Quieting::Rest, Quieting::Rest]), own);
        }
    }

    #[test]
    fn files_that_nobody_brought_to_rest_are_never_frozen() {
        assert_eq!(graded(Grade::Frozen, "files", &[]), Grade::Crash);
        assert_eq!(graded(Grade::Frozen, "postgres", &[]), Grade::Frozen);
    }

    #[test]
    fn no_grade_is_ever_raised() {
        assert_eq!(graded(Grade::Fuzzy, "files", &[Quieting::Hold]), Grade::Fuzzy);
        assert_eq!(graded(Grade::Fuzzy, "files", &[]), Grade::Fuzzy);
    }
}
