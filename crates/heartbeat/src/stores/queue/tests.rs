use rstest::rstest;

use super::super::error::Fault;
use super::sqs::{QueueAttributes, Refusal, region_of, remarks};

#[rstest]
#[case("https://sqs.eu-central-1.amazonaws.com/123456789012/q", Some("eu-central-1"))]
#[case("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", Some("cn-north-1"))]
#[case("https://eu-west-1.queue.amazonaws.com/123456789012/q", Some("eu-west-1"))]
#[case("https://queue.amazonaws.com/123456789012/q", Some("us-east-1"))]
#[case("https://vpce-0a.sqs.us-east-2.vpce.amazonaws.com/123456789012/q", Some("us-east-2"))]
#[case("http://127.0.0.1:4566/123456789012/q", None)]
#[case("https://sqs.example/123456789012/q", None)]
fn the_region_stands_in_the_host(#[case] queue: &str, #[case] region: Option<&str>) {
    assert_eq!(region_of(&url::Url::parse(queue).unwrap()).as_deref(), region);
}

fn fault(call: &str, status: u16, body: &str) -> Fault {
    Refusal::read(body.as_bytes(), "no word".to_owned()).fault(call, status)
}

#[test]
fn refusals_are_told_apart() {
    let missing = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"none","Message":"none"}"#;
    assert!(matches!(fault("ReceiveMessage", 400, missing), Fault::Missing));
    let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: x is not authorized"}"#;
    let Fault::Forbidden { need, told } = fault("DeleteMessageBatch", 400, denied) else { panic!() };
    assert_eq!(need, "sqs:DeleteMessage on the queue");
    assert_eq!(told, "AccessDeniedException: User: x is not authorized");
    let wrong = r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"bad"}"#;
    assert!(matches!(fault("ReceiveMessage", 403, wrong), Fault::Credentials(_)));
    let key = r#"{"__type":"com.amazonaws.sqs#KmsAccessDenied","message":"bad"}"#;
    assert!(
        matches!(fault("ReceiveMessage", 400, key), Fault::Forbidden { need, .. } if need.starts_with("kms:"))
    );
    let busy = r#"{"__type":"com.amazonaws.sqs#RequestThrottled","message":"slow down"}"#;
    assert!(matches!(fault("ReceiveMessage", 400, busy), Fault::Unreachable { .. }));
    let Fault::Forbidden { told, .. } = fault("ReceiveMessage", 403, "<html>") else { panic!() };
    assert_eq!(told, "no word");
}

#[test]
fn a_queue_that_loses_messages_is_remarked_on() {
    let attributes = |text: &str| serde_json::from_str::<QueueAttributes>(text).unwrap();
    let good = attributes(r#"{"MessageRetentionPeriod": "345600"}"#);
    assert!(remarks(&good).is_empty());
    let patient =
        attributes(r#"{"RedrivePolicy": "{\"deadLetterTargetArn\":\"a\",\"maxReceiveCount\":1000}"}"#);
    assert!(remarks(&patient).is_empty());
    let bad =
        attributes(r#"{"RedrivePolicy": "{\"maxReceiveCount\":\"5\"}", "MessageRetentionPeriod": "60"}"#);
    let told = remarks(&bad);
    assert!(told[0].contains("after 5 receives") && told[1].contains("60 s"), "{told:?}");
}
