//! Every route of the table with every kind of caller.

use stillpoint_server::access::Role;
use stillpoint_server::web::{Least, table};

use crate::client::{request, send};
use crate::ground::{Ground, PASSWORD};

#[tokio::test]
async fn somebody_signs_in_is_let_through_and_signs_out() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    let wrong = ground.form("/sign-in", &[], "name=anna&password=nothing").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, ""));
    let cookie = ground.sign_in("anna").await;
    assert_eq!(ground.get("/nothing", &[("cookie", &cookie)]).await.status, 404);
    let csrf = ground.csrf(&cookie).await;
    let out = ground.form("/sign-out", &[("cookie", &cookie)], "").await;
    assert_eq!(out.status, 403, "{out:?}");
    let out = ground.form("/sign-out", &[("cookie", &cookie)], &format!("csrf={csrf}")).await;
    assert_eq!((out.status, out.header("location")), (303, "/sign-in"));
    assert_eq!(
        ground.get("/nothing", &[("cookie", &cookie)]).await.header("location"),
        "/sign-in?next=/nothing"
    );
    let _ = (PASSWORD, request("", "", &[], ""), send, Least::Open, table);
}
