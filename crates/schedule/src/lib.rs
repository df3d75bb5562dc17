//! When is a task due? Calendars, windows and time zones. Pure: the clock is an argument.
