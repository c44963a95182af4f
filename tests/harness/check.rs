//! The invariant: whatever a generation's checkpoints say, its table is the fold of exactly that; and checkpoints never go back.

use std::collections::BTreeMap;

use super::history::{Checkpoints, History, Row};
use super::world::World;
use crate::support::database::TextRow;

/// How many differing rows are shown.
const ROWS_SHOWN: usize = 5;

pub struct Checker {
    history: History,
    /// By generation, as far as was seen in this era.
    seen: BTreeMap<String, Checkpoints>,
    era: u32,
    /// Tables compared.
    pub looks: usize,
    /// Those of a generation that stands beside another one of its projection.
    pub looks_at_builds: usize,
}

impl Checker {
    pub fn new(world: &World) -> Checker {
        Checker {
            history: History::of(world.kafka, &world.topic),
            seen: BTreeMap::new(),
            era: 0,
            looks: 0,
            looks_at_builds: 0,
        }
    }

    /// Compares every generation that is fed; false if a server was away.
    pub fn check(&mut self, world: &World) -> bool {
        if self.era != world.era {
            self.era = world.era;
            self.seen.clear();
        }
        // In the load of a build nothing is to be seen before the end.
        let fed = "select id, projection from consolidator.generation \
            where state in ('building', 'caught_up', 'held', 'live', 'grace') and phase = 'follow' order by 1";
        let Ok(generations) = world.space.database.try_query(fed) else {
            return false;
        };
        let mut all = true;
        for generation in &generations {
            let [Some(id), Some(projection)] = &generation[..] else {
                panic!("a generation has an id and a name");
            };
            let beside = generations.iter().filter(|other| other[1] == generation[1]);
            let compared = self.compare(world, id, projection);
            all &= compared;
            self.looks += usize::from(compared);
            self.looks_at_builds += usize::from(compared && beside.count() > 1);
        }
        all
    }

    fn compare(&mut self, world: &World, generation: &str, projection: &str) -> bool {
        let row = match projection {
            "accounts" => "account, n::text, sum::text, h",
            _ => "branch, n::text, sum::text, ''",
        };
        // One statement is one snapshot.
        let snapshot = format!(
            "select 'checkpoint', partition::text, next_offset::text, null, null from consolidator.checkpoint \
               where generation = {generation} \
             union all select 'row', {row} from consolidator_g{generation}.{projection}"
        );
        // Its tables may have been dropped meanwhile.
        let Ok(rows) = world.space.database.try_query(&snapshot) else {
            return false;
        };
        let text = |row: &TextRow, column: usize| row[column].clone().unwrap_or_default();
        let (checkpoints, rows): (Vec<TextRow>, Vec<TextRow>) = rows
            .into_iter()
            .partition(|row| row[0].as_deref() == Some("checkpoint"));
        let checkpoints: Checkpoints = checkpoints
            .iter()
            .map(|row| (text(row, 1).parse().unwrap(), text(row, 2).parse().unwrap()))
            .collect();
        let found: BTreeMap<String, Row> = rows
            .iter()
            .map(|row| {
                let (n, sum) = (text(row, 2).parse().unwrap(), text(row, 3).parse().unwrap());
                (
                    text(row, 1),
                    Row {
                        n,
                        sum,
                        h: text(row, 4),
                    },
                )
            })
            .collect();
        self.see(generation, &checkpoints);
        if !self.history.knows(&checkpoints) {
            return false;
        }
        let expected = match projection {
            "accounts" => self.history.accounts(&checkpoints),
            _ => self.history.branches(&checkpoints),
        };
        let what = format!("generation {generation} of {projection} at {checkpoints:?}");
        assert_equal(&what, &found, &expected);
        true
    }

    /// A checkpoint never goes back.
    fn see(&mut self, generation: &str, checkpoints: &Checkpoints) {
        let seen = self.seen.entry(generation.to_owned()).or_default();
        for (partition, next) in checkpoints {
            let before = seen.insert(*partition, *next).unwrap_or(0);
            assert!(
                *next >= before,
                "generation {generation}, partition {partition}: the checkpoint went back from {before} to {next}"
            );
        }
    }
}

fn assert_equal(what: &str, found: &BTreeMap<String, Row>, expected: &BTreeMap<String, Row>) {
    if found == expected {
        return;
    }
    let keys = found.keys().chain(expected.keys());
    let mut differing: Vec<&String> = keys
        .filter(|key| found.get(*key) != expected.get(*key))
        .collect();
    differing.sort();
    differing.dedup();
    let shown: Vec<String> = differing
        .iter()
        .take(ROWS_SHOWN)
        .map(|key| {
            let (is, must) = (found.get(*key), expected.get(*key));
            format!("  {key}: is {is:?}, must be {must:?}")
        })
        .collect();
    panic!(
        "{what}: {} of {} rows differ\n{}",
        differing.len(),
        expected.len(),
        shown.join("\n")
    );
}
