//! Calls /rpc, with the work as JSON on stdin; writes what the library says of it, as JSON.
//! test/clients/calls.py has both.
use jsonrpsee::core::client::{BatchResponse, ClientT, Error};
use jsonrpsee::core::params::{ArrayParams, BatchRequestBuilder, ObjectParams};
use jsonrpsee::http_client::{HeaderMap, HttpClient};
use jsonrpsee::types::ErrorObject;
use serde_json::{json, Value};

use crate::{Failure, Settings};

fn failed(error: &ErrorObject) -> Value {
    let data = error.data().map(|data| serde_json::from_str::<Value>(data.get()).unwrap());
    json!({"error": {"code": error.code(), "message": error.message(), "data": data}})
}

fn shown(result: Result<Value, Error>) -> Value {
    match result {
        Ok(value) => json!({"result": value}),
        Err(Error::Call(error)) => failed(&error),
        Err(error) => json!({"failed": error.to_string()}),
    }
}

fn positional(call: &Value) -> Result<ArrayParams, Failure> {
    let mut params = ArrayParams::new();
    for value in call["params"].as_array().ok_or("no array")? {
        params.insert(value)?;
    }
    Ok(params)
}

async fn one(client: &HttpClient, call: &Value) -> Result<Value, Failure> {
    let method = call["method"].as_str().ok_or("no method")?;
    if let Some(members) = call["params"].as_object() {
        let mut params = ObjectParams::new();
        for (name, value) in members {
            params.insert(name, value)?;
        }
        return Ok(shown(client.request(method, params).await));
    }
    Ok(shown(client.request(method, positional(call)?).await))
}

async fn each(client: &HttpClient, calls: &Value) -> Result<Vec<Value>, Failure> {
    let mut results = Vec::new();
    for call in calls.as_array().ok_or("no calls")? {
        results.push(one(client, call).await?);
    }
    Ok(results)
}

pub async fn jsonrpsee(settings: &Settings) -> Result<(), Failure> {
    let work: Value = serde_json::from_reader(std::io::stdin())?;
    let mut headers = HeaderMap::new();
    headers.insert("Authorization", format!("Bearer {}", settings.token).parse()?);
    let client = HttpClient::builder().set_headers(headers).build(&settings.url)?;

    let mut batch = BatchRequestBuilder::new();
    for call in work["batch"].as_array().ok_or("no batch")? {
        batch.insert(call["method"].as_str().ok_or("no method")?, positional(call)?)?;
    }
    let calls = each(&client, &work["calls"]).await?;
    let named = each(&client, &work["named"]).await?;
    let responses: BatchResponse<Value> = client.batch_request(batch).await?;
    let together: Vec<Value> = responses
        .into_iter()
        .map(|one| one.map_or_else(|error| failed(&error), |value| json!({"result": value})))
        .collect();
    let note = &work["notification"];
    let noted = client.notification(note["method"].as_str().ok_or("no method")?, positional(note)?).await;
    let said = json!({
        "calls": calls, "named": named, "batch": together,
        "notification": noted.err().map(|error| error.to_string()),
    });
    println!("{said}");
    Ok(())
}
