//! The servers and sample events of the demonstration, without the worker.

use std::time::Duration;

use consolidator::demo::events::EventFeed;
use consolidator::demo::sample::TOPICS;
use consolidator::demo::servers::DemoServers;

use crate::support::database::Database;
use crate::support::wait::wait_until;

#[test]
fn the_demonstration_has_a_broker_that_takes_events_and_a_postgres_that_answers() {
    let servers = DemoServers::start(&TOPICS).unwrap();
    let mut feed = EventFeed::start(&servers.brokers, 500).unwrap();
    let database = Database::at(&servers.postgres_url);
    assert_eq!(database.number("select 1"), 1);
    assert!(servers.psql_command.contains(&servers.postgres_url));

    let enough = || feed.counts().acknowledged > 200;
    wait_until("events to be acknowledged", Duration::from_secs(30), enough);
    let counts = feed.stop();
    assert_eq!(counts.sent, counts.acknowledged);
    assert_eq!(counts.failed, 0);
}
