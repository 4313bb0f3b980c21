//! What workers are going to write: every plan within bounds.

/// How the time of an update's entry is to that of the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// The same text, as the agent writes it.
    Same,
    /// Taken anew when the entry is written.
    Another,
    /// The same text in both, and in all others.
    Equal,
    /// Neither has one.
    None,
}

/// An update that a worker pushes, and then adds to the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    pub(crate) worker: usize,
    /// Which say the same.
    pub(crate) class: usize,
    pub(crate) time: Time,
    /// It gets an entry; else its worker dies first, or cannot add it and goes on.
    pub(crate) has_entry: bool,
}

/// All plans of so many updates: whose they are, which say the same, their times, which get entries.
/// Each worker writes its updates in this order. None twice that differ by names only.
pub(crate) fn plans(updates: usize, workers: usize, times: &[Time]) -> Vec<Vec<Update>> {
    let mut found = Vec::new();
    for split in splits(updates, workers) {
        for classes in classes(updates) {
            for code in 0..(times.len() * 2).pow(updates as u32) {
                let mut code = code;
                let mut next = |of: usize| {
                    let digit = code % of;
                    code /= of;
                    digit
                };
                let plan = (0..updates).map(|number| Update {
                    worker: split[number],
                    class: classes[number],
                    time: times[next(times.len())],
                    has_entry: next(2) == 1,
                });
                let plan: Vec<Update> = plan.collect();
                // Without an entry there is no other time.
                let twice = |update: &Update| !update.has_entry && update.time == Time::Another;
                if !(plan.iter().any(twice) && times.contains(&Time::Same)) {
                    found.push(plan);
                }
            }
        }
    }
    found
}

/// How many updates each worker writes, the first one most; as the worker of each update.
fn splits(updates: usize, workers: usize) -> Vec<Vec<usize>> {
    let mut found = vec![vec![0; updates]];
    if workers > 1 {
        for second in 1..=updates / 2 {
            found.push((0..updates).map(|at| usize::from(at >= updates - second)).collect());
        }
    }
    found
}

/// Which updates say the same: each one as an older one, or something new.
fn classes(updates: usize) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new()];
    for _ in 0..updates {
        found = found
            .into_iter()
            .flat_map(|classes: Vec<usize>| {
                let fresh = classes.iter().max().map_or(0, |max| max + 1);
                (0..=fresh).map(move |class| [&classes[..], &[class]].concat())
            })
            .collect();
    }
    found
}
