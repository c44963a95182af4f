//! What can go wrong on Kafka's side, in kinds that decide what to do. Knows no client.

use std::fmt;

use rdkafka::types::RDKafkaErrorCode as Code;

/// What class of error it is: what to do follows from the kind, what to tell from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting or property is wrong; nothing was started.
    Configuration,
    /// A broker, or all of them, cannot be reached; the client goes on trying by itself.
    Unreachable,
    /// Log-in failed (SASL, TLS); the client goes on trying, with the same credentials.
    Authentication,
    /// Logged in, but a topic, group or cluster operation is not allowed.
    Authorization,
    /// A topic or partition does not exist (yet, or any more).
    UnknownTopic,
    /// The asked offset is below the start or beyond the end of the log.
    OutOfRange,
    /// A record batch is damaged, too large for the client's limits, or cannot be decompressed by this build.
    Corrupt,
    /// The client went too long without a poll and lost its membership.
    PollTooSlow,
    /// The answer did not come in time.
    Timeout,
    /// Any other trouble that the client gets over by itself.
    Transient,
    /// The client is broken for good and has to be made anew.
    Fatal,
}

/// An error of the source. The message is librdkafka's, which never holds property values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SourceError {
    pub kind: ErrorKind,
    pub message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl SourceError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        SourceError {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn from_code(code: Code, context: &str) -> Self {
        let kind = kind_of(code, false);
        SourceError::new(kind, format!("{context}: {code}"))
    }
}

/// librdkafka has some two hundred codes, and adds more; those that name no cause of their own are
/// trouble that the client retries.
pub(super) fn kind_of(code: Code, fatal: bool) -> ErrorKind {
    if fatal {
        return ErrorKind::Fatal;
    }
    match code {
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::BrokerNotAvailable
        | Code::NodeUpdate => ErrorKind::Unreachable,
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => ErrorKind::Authentication,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Authorization,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId => ErrorKind::UnknownTopic,
        Code::AutoOffsetReset | Code::OffsetOutOfRange => ErrorKind::OutOfRange,
        Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage
        | Code::NotImplemented
        | Code::MessageSizeTooLarge
        | Code::Underflow => ErrorKind::Corrupt,
        Code::PollExceeded => ErrorKind::PollTooSlow,
        Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue => ErrorKind::Timeout,
        Code::Fatal | Code::Fenced => ErrorKind::Fatal,
        Code::InvalidArgument | Code::UnknownProtocol | Code::InconsistentGroupProtocol => {
            ErrorKind::Configuration
        }
        _ => ErrorKind::Transient,
    }
}
