//! What a user may do at a broker, given and taken by its administrator: ACLs and passwords. rdkafka has no words for ACLs, so
//! librdkafka is asked. Knows no test.

use std::ffi::CString;
use std::ptr;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_sys as sys;

use super::kafka::KafkaServer;

/// A right to read topics, or groups, whose names begin with this.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    ReadTopics(&'a str),
    ReadGroups(&'a str),
}

/// Lets a user do it.
pub fn allow(kafka: &KafkaServer, user: &str, right: Right<'_>) {
    change(kafka, user, right, true);
}

/// Lets him do it no longer.
pub fn forbid(kafka: &KafkaServer, user: &str, right: Right<'_>) {
    change(kafka, user, right, false);
}

fn change(kafka: &KafkaServer, user: &str, right: Right<'_>, allowed: bool) {
    let client: BaseConsumer = kafka.client_config().create().unwrap();
    let rk = client.client().native_ptr();
    let (kind, name) = match right {
        Right::ReadTopics(name) => (sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name),
        Right::ReadGroups(name) => (sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP, name),
    };
    let name = CString::new(name).unwrap();
    let principal = CString::new(format!("User:{user}")).unwrap();
    let host = CString::new("*").unwrap();
    let mut why = [0; 256];
    // SAFETY: valid client and texts, which librdkafka copies; whatever it makes is destroyed once, after its last use.
    unsafe {
        let pattern = sys::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_PREFIXED;
        let read = sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ;
        let allow = sys::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW;
        let make = match allowed {
            true => sys::rd_kafka_AclBinding_new,
            false => sys::rd_kafka_AclBindingFilter_new,
        };
        let mut binding = make(
            kind,
            name.as_ptr(),
            pattern,
            principal.as_ptr(),
            host.as_ptr(),
            read,
            allow,
            why.as_mut_ptr(),
            why.len(),
        );
        assert!(!binding.is_null());
        let queue = sys::rd_kafka_queue_new(rk);
        let ask = match allowed {
            true => sys::rd_kafka_CreateAcls,
            false => sys::rd_kafka_DeleteAcls,
        };
        ask(rk, &raw mut binding, 1, ptr::null(), queue);
        let answer = sys::rd_kafka_queue_poll(queue, 20_000);
        assert!(!answer.is_null(), "no answer about ACLs");
        let error = sys::rd_kafka_event_error(answer);
        assert_eq!(error, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        if allowed {
            let mut count = 0;
            let result = sys::rd_kafka_event_CreateAcls_result(answer);
            let each = sys::rd_kafka_CreateAcls_result_acls(result, &raw mut count);
            assert_eq!(count, 1);
            let refused = sys::rd_kafka_acl_result_error(*each);
            assert!(refused.is_null(), "the broker refuses the ACL");
        }
        sys::rd_kafka_event_destroy(answer);
        sys::rd_kafka_AclBinding_destroy(binding);
        sys::rd_kafka_queue_destroy(queue);
    }
}

/// Gives a user another password (SCRAM).
pub fn set_password(kafka: &KafkaServer, user: &str, password: &str) {
    let added = format!("SCRAM-SHA-512=[password={password}]");
    kafka.run_tool(
        "kafka.admin.ConfigCommand",
        &[
            "--bootstrap-server",
            &kafka.brokers,
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            user,
            "--add-config",
            &added,
        ],
    );
}
