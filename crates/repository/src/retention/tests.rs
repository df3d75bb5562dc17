#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') { format!("{text}Z") } else { format!("{text}T02:00:00Z") };
    text.parse().unwrap()
}

fn id(number: usize) -> Id {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Id::from_bytes(bytes)
}

/// A complete version of this day with this epoch.
fn version(epoch: u64, time: &str) -> Candidate {
    let complete = !time.ends_with('?');
    let time = at(time.trim_end_matches('?'));
    Candidate { id: id(epoch as usize), time, epoch: Some(epoch), complete, held: false, needed: false }
}

/// Complete versions with epochs from 1; a `?` at the end makes an incomplete one.
fn versions(times: &[&str]) -> Vec<Candidate> {
    times.iter().enumerate().map(|(place, time)| version(place as u64 + 1, time)).collect()
}

/// The epochs of those that stay.
fn kept(rules: &KeepRules, versions: &[Candidate]) -> Vec<u64> {
    let verdicts = judge(rules, versions, at("2026-06-30"));
    let kept = versions.iter().zip(verdicts).filter(|(_, verdict)| !verdict.retires());
    kept.filter_map(|(version, _)| version.epoch).collect()
}

fn days(first: u32, last: u32) -> Vec<Candidate> {
    let times: Vec<String> = (first..=last).map(|day| format!("2026-05-{day:02}")).collect();
    versions(&times.iter().map(String::as_str).collect::<Vec<_>>())
}

fn rules() -> KeepRules {
    KeepRules::default()
}

#[test]
fn without_a_rule_nothing_goes() {
    let all = days(1, 20);
    assert_eq!(kept(&rules(), &all).len(), 20);
    let verdicts = judge(&rules(), &all, at("2026-06-30"));
    assert_eq!(verdicts[0].fate, Fate::Keep(vec![Reason::NoRule]));
}

#[test]
fn each_rule_keeps_the_newest_of_what_it_names() {
    // Three a day on two days, then one a week, a month, a year before.
    let all = versions(&[
        "2023-07-01",
        "2024-12-30",
        "2025-01-02",
        "2026-03-31",
        "2026-04-30",
        "2026-05-04",
        "2026-05-10T23:59:59",
        "2026-05-11T00:00:00",
        "2026-05-13T01:10:00",
        "2026-05-13T01:50:00",
        "2026-05-13T02:00:00",
        "2026-05-14T02:00:00",
    ]);
    for (rules, wanted) in [
        (KeepRules { last: Some(2), ..rules() }, vec![11, 12]),
        (KeepRules { hourly: Some(3), ..rules() }, vec![10, 11, 12]),
        (KeepRules { daily: Some(3), ..rules() }, vec![8, 11, 12]),
        (KeepRules { weekly: Some(2), ..rules() }, vec![7, 12]),
        // 2024-12-30 and 2025-01-02 lie in one ISO week, and in two months and years.
        (KeepRules { weekly: Some(9), ..rules() }, vec![1, 3, 4, 5, 7, 12]),
        (KeepRules { monthly: Some(3), ..rules() }, vec![4, 5, 12]),
        (KeepRules { yearly: Some(9), ..rules() }, vec![1, 2, 3, 12]),
        (KeepRules { within: Some(Duration::from_secs(25 * 3600)), ..rules() }, vec![9, 10, 11, 12]),
        (KeepRules { last: Some(1), yearly: Some(2), ..rules() }, vec![3, 12]),
        (KeepRules { last: Some(100), ..rules() }, (1..=12).collect()),
    ] {
        let mut shuffled = all.clone();
        shuffled.reverse();
        let mut backwards = kept(&rules, &shuffled);
        backwards.reverse();
        assert_eq!((kept(&rules, &all), backwards), (wanted.clone(), wanted), "{rules:?}");
    }
}

#[test]
fn what_is_held_or_needed_stays_and_still_counts() {
    let mut all = days(1, 10);
    all[0].held = true;
    all[1].needed = true;
    all[9].held = true;
    assert_eq!(kept(&KeepRules { last: Some(2), ..rules() }, &all), [1, 2, 9, 10]);
}

#[test]
fn incomplete_versions_never_take_the_place_of_complete_ones() {
    let all = versions(&[
        "2026-05-01",
        "2026-05-02",
        "2026-05-03T01:00:00",
        "2026-05-03T02:00:00?",
        "2026-05-04",
        "2026-05-05?",
        "2026-05-06?",
        "2026-05-07?",
    ]);
    // Two complete ones, and the same number of incomplete ones that no complete one follows.
    assert_eq!(kept(&KeepRules { last: Some(2), ..rules() }, &all), [3, 5, 7, 8]);
    assert_eq!(kept(&KeepRules { daily: Some(3), ..rules() }, &all), [2, 3, 5, 6, 7, 8]);
    assert_eq!(kept(&KeepRules { yearly: Some(1), ..rules() }, &all), [5, 8]);
    let within = KeepRules { within: Some(Duration::from_secs(2 * 86_400)), ..rules() };
    assert_eq!(kept(&within, &all), [2, 3, 4, 5, 6, 7, 8]);
    let verdicts = judge(&KeepRules { last: Some(1), ..rules() }, &all, at("2026-06-30"));
    assert_eq!(verdicts[3].fate, Fate::Retire(Retired::Superseded));
    assert_eq!(verdicts[0].fate, Fate::Retire(Retired::ByNoRule));
}

#[test]
fn a_site_that_is_never_complete_keeps_its_last_complete_version_and_a_bounded_number_of_others() {
    let mut times = vec!["2020-01-01".to_owned()];
    times.extend((1..=28).map(|day| format!("2026-05-{day:02}?")));
    let all = versions(&times.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(kept(&KeepRules { last: Some(3), ..rules() }, &all), [1, 27, 28, 29]);
}

#[test]
fn a_version_from_the_future_is_kept_and_told_and_pushes_nothing_out() {
    let mut all = days(1, 10);
    let rules = KeepRules { last: Some(2), within: Some(Duration::from_secs(86_400)), ..rules() };
    assert_eq!(kept(&rules, &all), [9, 10]);
    all.insert(3, version(11, "2040-01-01"));
    all.insert(4, version(12, "2040-01-02"));
    assert_eq!(kept(&rules, &all), [11, 12, 9, 10]);
    let verdicts = judge(&rules, &all, at("2026-06-30"));
    assert_eq!(verdicts[3].fate, Fate::Keep(vec![Reason::FromTheFuture]));
    // Two clocks differ a little.
    let all = versions(&["2026-06-29", "2026-06-30T02:10:00", "2026-06-30T02:20:00"]);
    let verdicts = judge(&KeepRules { last: Some(1), ..rules }, &all, at("2026-06-30"));
    let told: Vec<bool> =
        verdicts.iter().map(|it| it.fate == Fate::Keep(vec![Reason::FromTheFuture])).collect();
    assert_eq!(told, [false, false, true]);
    assert!(!verdicts[1].retires());
}

#[test]
fn when_the_clock_of_this_machine_is_far_behind_nothing_goes() {
    let rules = KeepRules { last: Some(1), ..rules() };
    assert!(judge(&rules, &days(1, 20), at("1970-01-01")).iter().all(|verdict| !verdict.retires()));
}

#[test]
fn when_time_and_epoch_disagree_neither_is_believed() {
    // The clock was set back for the sixth.
    let all = versions(&[
        "2026-05-01",
        "2026-05-02",
        "2026-05-03",
        "2026-05-04",
        "2026-05-05",
        "2026-05-03T09:00:00",
        "2026-05-07",
        "2026-05-08",
    ]);
    let rules = KeepRules { daily: Some(2), ..rules() };
    assert_eq!(kept(&rules, &all), [4, 5, 6, 7, 8]);
    let verdicts = judge(&rules, &all, at("2026-06-30"));
    assert_eq!(verdicts[4].fate, Fate::Keep(vec![Reason::ClockDisagrees(id(6))]));
    assert_eq!(verdicts[5].fate, Fate::Keep(vec![Reason::ClockDisagrees(id(5))]));
    // Once a person took the wrong one away, the rules hold again.
    let mended: Vec<Candidate> = all.iter().filter(|version| version.epoch != Some(6)).cloned().collect();
    assert_eq!(kept(&rules, &mended), [7, 8]);
    // The same epoch twice says nothing about its clock, and no epoch neither.
    let mut twice = versions(&["2026-05-02", "2026-05-01", "2026-05-03"]);
    (twice[1].epoch, twice[2].epoch) = (Some(1), None);
    assert!(judge(&rules, &twice, at("2026-06-30")).iter().all(|verdict| match &verdict.fate {
        Fate::Keep(reasons) => reasons.iter().all(|reason| !reason.is_doubt()),
        Fate::Retire(_) => true,
    }));
}

/// A small generator of random numbers (xorshift64*), so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn rules(&mut self) -> KeepRules {
        let mut rule = || (self.below(2) == 0).then(|| self.below(6) as u32 + 1);
        KeepRules {
            last: rule(),
            hourly: rule(),
            daily: rule(),
            weekly: rule(),
            monthly: rule(),
            yearly: rule(),
            within: rule().map(|days| Duration::from_secs(u64::from(days) * 40_000)),
        }
    }

    /// Versions whose times mostly grow with their epochs, with a clock that is wrong now and then.
    fn versions(&mut self) -> Vec<Candidate> {
        let mut time = at("2024-01-01").as_second();
        let step = [3_000, 50_000, 900_000][self.below(3) as usize];
        let count = self.below(60);
        let mut one = |epoch: u64| {
            time += self.below(step) as i64;
            let wrong = match self.below(20) {
                0 => time - self.below(40_000_000) as i64,
                1 => time + self.below(200_000_000) as i64,
                _ => time,
            };
            Candidate {
                id: id(self.below(u64::MAX) as usize ^ (epoch as usize) << 40),
                time: Timestamp::from_second(wrong).unwrap(),
                epoch: (self.below(15) > 0).then_some(epoch),
                complete: self.below(4) > 0,
                held: self.below(20) == 0,
                needed: self.below(30) == 0,
            }
        };
        (1..=count).map(&mut one).collect()
    }
}

fn kept_ids(rules: &KeepRules, versions: &[Candidate], now: Timestamp) -> Vec<Id> {
    let verdicts = judge(rules, versions, now);
    let mut kept: Vec<Id> = verdicts.iter().filter(|it| !it.retires()).map(|it| it.id).collect();
    kept.sort_unstable();
    kept
}

fn is_subset(small: &[Id], large: &[Id]) -> bool {
    small.iter().all(|id| large.binary_search(id).is_ok())
}

fn doubtful(verdict: &Verdict) -> bool {
    matches!(&verdict.fate, Fate::Keep(reasons) if reasons.iter().any(|reason| reason.is_doubt()))
}

#[test]
fn whatever_the_versions_and_the_rules_are_no_good_version_is_lost() {
    let mut retired = 0;
    for seed in 1..=1500_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (rules, versions) = (random.rules(), random.versions());
        let now = versions.iter().filter(|it| it.epoch.is_some()).map(|it| it.time).max().unwrap_or_default();
        let now = if random.below(2) == 0 { now } else { at("2025-01-01") };
        let verdicts = judge(&rules, &versions, now);
        assert_eq!(verdicts.len(), versions.len());
        retired += verdicts.iter().filter(|it| it.retires()).count();
        let kept = kept_ids(&rules, &versions, now);
        for (version, verdict) in versions.iter().zip(&verdicts) {
            assert_eq!(version.id, verdict.id, "seed {seed}");
            let stays = version.held || version.needed || version.time > now + CLOCK_TOLERANCE;
            assert!(!(stays && verdict.retires()), "seed {seed}: {version:?}");
        }

        // The newest complete version that counts stays, and so does the one with the highest epoch.
        let complete = || versions.iter().zip(&verdicts).filter(|(version, _)| version.complete);
        for newest in [
            complete().filter(|(_, verdict)| !doubtful(verdict)).max_by_key(|(version, _)| version.time),
            complete()
                .filter(|(version, _)| version.epoch.is_some())
                .max_by_key(|(version, _)| version.epoch),
        ] {
            // A version without an epoch may be newer than the one with the highest.
            let newer_without = |version: &Candidate| {
                versions.iter().any(|other| other.epoch.is_none() && other.time >= version.time)
            };
            if let Some((version, verdict)) = newest {
                assert!(!verdict.retires() || newer_without(version), "seed {seed}: {version:?}");
            }
        }

        // The order in which they come does not matter, and what stays once stays the next time.
        let mut reversed = versions.clone();
        reversed.reverse();
        assert_eq!(kept_ids(&rules, &reversed, now), kept, "seed {seed}");
        let left: Vec<Candidate> =
            versions.iter().filter(|it| kept.binary_search(&it.id).is_ok()).cloned().collect();
        assert_eq!(kept_ids(&rules, &left, now), kept, "seed {seed}: it is not stable");

        // Neither an incomplete version nor one of a wrong clock pushes out a complete one.
        let complete_kept = |kept: &[Id]| -> Vec<Id> {
            versions
                .iter()
                .filter(|it| it.complete && kept.binary_search(&it.id).is_ok())
                .map(|it| it.id)
                .collect()
        };
        for (place, version) in versions.iter().enumerate() {
            if doubtful(&verdicts[place]) || !version.complete {
                let mut without = versions.clone();
                without.remove(place);
                if rules.is_empty() {
                    continue;
                }
                let before = complete_kept(&kept_ids(&rules, &without, now));
                let after = kept_ids(&rules, &versions, now);
                assert!(is_subset(&before, &after), "seed {seed}: {version:?} pushed something out");
            }
        }
    }
    assert!(retired > 5_000, "the rules hardly ever let anything go: {retired}");
}

#[test]
fn more_rules_keep_more() {
    for seed in 1..=2000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (rules, versions) = (random.rules(), random.versions());
        if rules.is_empty() {
            continue;
        }
        let more = KeepRules { daily: Some(rules.daily.unwrap_or(0) + 2), ..rules.clone() };
        let now = at("2030-01-01");
        assert!(
            is_subset(&kept_ids(&rules, &versions, now), &kept_ids(&more, &versions, now)),
            "seed {seed}"
        );
    }
}
