//! From text to an expression: `[weekdays] [year-month-day] [hour:minute[:second]]`, or one of the short words.

use super::{Expression, Part, YEAR_MAX};
use crate::{Day, WrongSchedule, Zone, nearest};

/// The short words, and what they stand for (systemd.time(7)).
const SHORT: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
];

/// One of the fields of date and time.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    low: i32,
    high: i32,
}

const YEAR: Field = Field { name: "year", low: 1970, high: YEAR_MAX as i32 };
const MONTH: Field = Field { name: "month", low: 1, high: 12 };
const DAY: Field = Field { name: "day", low: 1, high: 31 };
/// As for systemd: days that every month has.
const DAY_FROM_END: Field = Field { name: "day from the end", low: 1, high: 28 };
const HOUR: Field = Field { name: "hour", low: 0, high: 23 };
const MINUTE: Field = Field { name: "minute", low: 0, high: 59 };
const SECOND: Field = Field { name: "second", low: 0, high: 59 };

const EXAMPLE: &str = "write it as for OnCalendar=, such as \"Mon..Fri 02:30\" or \"*-*-01 04:00\"; `systemd-analyze calendar` \
                       explains an expression";

fn wrong(text: &str, why: impl std::fmt::Display) -> WrongSchedule {
    WrongSchedule::new(format!("is not a calendar expression: {text:?} ({why})"), EXAMPLE)
}

/// Reads an expression. Whether it names a day that ever comes is not looked at.
pub(super) fn parse(text: &str) -> Result<Expression, WrongSchedule> {
    let text = text.trim();
    let words: Vec<&str> = text.split_whitespace().collect();
    refuse_others(text, &words)?;
    let lower = text.to_lowercase();
    if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == lower) {
        let expression = parse(long)?;
        return Ok(Expression { text: text.to_owned(), ..expression });
    }
    let mut expression = Expression {
        text: text.to_owned(),
        weekdays: Vec::new(),
        years: Vec::new(),
        months: Vec::new(),
        days: Vec::new(),
        from_end: false,
        hours: vec![Part::number(0)],
        minutes: vec![Part::number(0)],
        seconds: vec![Part::number(0)],
    };
    let mut rest = words.as_slice();
    if let [first, others @ ..] = rest
        && first.starts_with(|letter: char| letter.is_ascii_alphabetic())
    {
        expression.weekdays = weekdays(text, first)?;
        rest = others;
    }
    if let [first, others @ ..] = rest
        && !first.contains(':')
    {
        read_date(text, first, &mut expression)?;
        rest = others;
    }
    if let [first, others @ ..] = rest {
        read_time(text, first, &mut expression)?;
        rest = others;
    }
    match rest {
        [] => Ok(expression),
        [more, ..] => {
            Err(wrong(text, format!("what is {more:?}? Days of the week, date and time come in this order")))
        }
    }
}

/// What people may write that is something else.
fn refuse_others(text: &str, words: &[&str]) -> Result<(), WrongSchedule> {
    let Some(last) = words.last() else {
        return Err(WrongSchedule::new("is empty", EXAMPLE));
    };
    if words.len() == 5 && !text.contains(':') {
        let message = format!("is not a calendar expression: {text:?}");
        return Err(WrongSchedule::new(message, "write it as cron = \"...\", which takes cron expressions"));
    }
    if text.starts_with('@') {
        return Err(wrong(text, "an instant is no schedule"));
    }
    let names_zone = last.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && (words.len() > 1 || last.contains('/') || last.eq_ignore_ascii_case("utc"))
        && last.parse::<Zone>().is_ok();
    if names_zone {
        let message = format!("holds a time zone: {text:?}");
        return Err(WrongSchedule::new(
            message,
            format!("write zone = {last:?}, and the expression without it"),
        ));
    }
    Ok(())
}

/// `Mon`, `Mon..Fri`, `Mon-Fri` (the old form) and lists of them.
fn weekdays(text: &str, word: &str) -> Result<Vec<Day>, WrongSchedule> {
    let mut there = [false; 7];
    // systemd takes a comma at the end.
    for item in word.strip_suffix(',').unwrap_or(word).split(',') {
        let (first, last) = item.split_once("..").or(item.split_once('-')).unwrap_or((item, item));
        let (first, last) = (weekday(text, first)?, weekday(text, last)?);
        if first > last {
            let why =
                format!("{item:?} goes backwards: the week begins on Monday, so write \"Fri..Sun,Mon\"");
            return Err(wrong(text, why));
        }
        there[first..=last].fill(true);
    }
    Ok(Day::all().into_iter().zip(there).filter(|(_, there)| *there).map(|(day, _)| day).collect())
}

/// The number of a day of the week, by its name or the first three letters of it.
fn weekday(text: &str, word: &str) -> Result<usize, WrongSchedule> {
    let lower = word.to_lowercase();
    let is = |day: &Day| day.name().to_lowercase() == lower || day.name()[..3].to_lowercase() == lower;
    Day::all().iter().position(is).ok_or_else(|| {
        let short: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
        let days = Day::all();
        let known: Vec<&str> = days.iter().map(|day| day.name()).chain(short).collect();
        match nearest(word, &known) {
            Some(near) => wrong(text, format!("{word:?} is no day of the week: is {near:?} meant?")),
            None => wrong(text, format!("{word:?} is no day of the week, nor one of daily, weekly, hourly")),
        }
    })
}

/// `[year-]month-day`, with `~` before a day that counts from the end of the month.
fn read_date(text: &str, word: &str, expression: &mut Expression) -> Result<(), WrongSchedule> {
    let (front, day) = word
        .rsplit_once(['-', '~'])
        .ok_or_else(|| wrong(text, format!("{word:?} is neither date nor time")))?;
    expression.from_end = word[front.len()..].starts_with('~');
    expression.days = parts(text, day, if expression.from_end { DAY_FROM_END } else { DAY })?;
    let month = match front.split_once('-') {
        Some((year, month)) => {
            expression.years = parts(text, year, YEAR)?;
            month
        }
        None => front,
    };
    expression.months = parts(text, month, MONTH)?;
    Ok(())
}

/// `hour:minute[:second]`.
fn read_time(text: &str, word: &str, expression: &mut Expression) -> Result<(), WrongSchedule> {
    if word.contains('.') && word.replace("..", "").contains('.') {
        return Err(wrong(text, "parts of a second are not known here"));
    }
    let fields: Vec<&str> = word.split(':').collect();
    let (hour, minute, second) = match fields.as_slice() {
        [hour, minute] => (hour, minute, "0"),
        [hour, minute, second] => (hour, minute, *second),
        _ => return Err(wrong(text, format!("{word:?} is no time of day"))),
    };
    expression.hours = parts(text, hour, HOUR)?;
    expression.minutes = parts(text, minute, MINUTE)?;
    expression.seconds = parts(text, second, SECOND)?;
    Ok(())
}

/// A list of numbers, ranges and steps; empty for `*`.
fn parts(text: &str, list: &str, field: Field) -> Result<Vec<Part>, WrongSchedule> {
    if list == "*" {
        return Ok(Vec::new());
    }
    list.split(',').map(|item| part(text, item, field)).collect()
}

fn part(text: &str, item: &str, field: Field) -> Result<Part, WrongSchedule> {
    let Field { name, low, high } = field;
    if item.starts_with('*') {
        return Err(wrong(
            text,
            format!("{item:?}: write the first {name} instead of *, such as \"{low}/2\""),
        ));
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(number(text, step, name)?)),
        None => (item, None),
    };
    let (start, stop) = match range.split_once("..") {
        Some((start, stop)) => (value(text, start, field)?, Some(value(text, stop, field)?)),
        None => (value(text, range, field)?, None),
    };
    if stop.is_some_and(|stop| stop < start) {
        return Err(wrong(text, format!("the range {item:?} of the {name} goes backwards")));
    }
    // Steps go on in the calendar, also from a day that is counted from the end.
    let room = if field.high == DAY_FROM_END.high { start - low } else { high - start };
    if let Some(step) = step
        && (step == 0 || (stop.is_none() && step > room))
    {
        return Err(wrong(text, format!("the step of {item:?} leads nowhere")));
    }
    // The last value that the steps reach, which is the first one when the days count from the end of the month.
    let reached = |stop: i32| step.map_or(stop, |step| stop - (stop - start) % step);
    Ok(Part { start, stop: stop.map(reached), step })
}

fn value(text: &str, digits: &str, field: Field) -> Result<i32, WrongSchedule> {
    let Field { name, low, high } = field;
    let number = match number(text, digits, name)? {
        // systemd's reading of two digits.
        short @ 0..70 if low == YEAR.low => short + 2000,
        short @ 70..100 if low == YEAR.low => short + 1900,
        number => number,
    };
    if (low..=high).contains(&number) {
        Ok(number)
    } else {
        Err(wrong(text, format!("the {name} is from {low} to {high}, and this is {digits}")))
    }
}

fn number(text: &str, digits: &str, name: &str) -> Result<i32, WrongSchedule> {
    let plain = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| digits.parse().ok()).flatten();
    number.ok_or_else(|| wrong(text, format!("{digits:?} is no number for the {name}")))
}
