//! One value of a list: a number, a range, either with a step.

/// A number, a range, or either with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: i32,
    /// The last value; nothing means only `start`, or with a step everything from it on.
    pub(super) stop: Option<i32>,
    /// Above 0, or nothing.
    pub(super) step: Option<i32>,
}

impl Part {
    /// One number.
    pub(super) fn number(start: i32) -> Self {
        Self { start, stop: None, step: None }
    }

    fn allows(self, value: i32) -> bool {
        let (last, step) = match (self.stop, self.step) {
            (None, None) => (self.start, 1),
            (None, Some(step)) => (i32::MAX, step),
            (Some(stop), step) => (stop, step.unwrap_or(1)),
        };
        (self.start..=last).contains(&value) && (value - self.start) % step == 0
    }

    /// The same days counted from the beginning of a month of `length` days. `~07/1` begins at the seventh last day and goes on to
    /// the end; the range `~01..03` is that of the last three days.
    pub(super) fn counted_from_end(self, length: i32) -> Self {
        let from_begin = |day: i32| length + 1 - day;
        match self.stop {
            Some(stop) => Self { start: from_begin(stop), stop: Some(from_begin(self.start)), ..self },
            None => Self { start: from_begin(self.start), ..self },
        }
    }
}

/// Whether a list allows a value. An empty list is `*`.
pub(super) fn allows(parts: &[Part], value: i32) -> bool {
    parts.is_empty() || parts.iter().any(|part| part.allows(value))
}
