//! The pages in a real browser: what is typed, what is shown, what a refusal looks like.

use auth::settings::CookieSecure;
use auth::store::audit::Origin;
use serde_json::json;

use crate::bench::{Bench, PASSWORD, name, until, with};
use weir_test::chromium::Chromium;

/// A service whose cookies a browser keeps over plain HTTP.
async fn plain() -> Bench {
    with(|settings| settings.cookie_secure = CookieSecure::Never).await
}

fn url(bench: &Bench, path: &str) -> String {
    format!("http://{}{path}", bench.at)
}

/// Types a name and a password into the login page that is open.
fn log_in(browser: &mut Chromium, name: &str, password: &str) {
    browser.type_into("username", name);
    browser.type_into("password", password);
    browser.click("form button");
}

#[tokio::test(flavor = "multi_thread")]
async fn signup_page_leads_to_a_login_and_logout_ends_it() {
    let (bench, mut browser, name) = (plain().await, Chromium::start(), name("page"));
    browser.open(&url(&bench, "/login"));
    browser.click("a[href='/signup']");
    browser.shows("/signup", "Sign up");
    browser.type_into("username", &name);
    browser.type_into("email", &format!("{name}@example.org"));
    browser.type_into("password", PASSWORD);
    browser.click("form button");
    browser.shows("/login", "You are signed up. Log in.");
    log_in(&mut browser, &name, PASSWORD);
    browser.shows("/", &format!("You are {name}."));
    assert_eq!(browser.run("return document.cookie"), "", "scripts see no token");
    browser.click("button");
    browser.shows("/", "You are not logged in.");
    browser.open(&url(&bench, "/"));
    browser.shows("/", "You are not logged in.");
}

#[tokio::test(flavor = "multi_thread")]
async fn index_page_tells_that_a_logout_failed() {
    let (bench, mut browser) = (plain().await, Chromium::start());
    let ada = bench.person().await;
    browser.open(&url(&bench, "/login"));
    log_in(&mut browser, &ada.name, PASSWORD);
    browser.shows("/", &format!("You are {}.", ada.name));
    let at = bench.at;
    drop(bench);
    until("it takes no connection", async || tokio::net::TcpStream::connect(at).await.is_err())
        .await;
    browser.click("button");
    browser.shows("/", "You are still logged in: the service cannot be reached. Try again.");
}

#[tokio::test(flavor = "multi_thread")]
async fn signup_page_names_the_field_that_is_refused() {
    let (bench, mut browser) = (plain().await, Chromium::start());
    let ada = bench.person().await;
    browser.open(&url(&bench, "/signup"));
    browser.type_into("username", &name("other"));
    browser.type_into("email", &format!("{}@example.org", ada.name));
    browser.type_into("password", PASSWORD);
    browser.click("form button");
    browser.shows("/signup", "`email` is taken");
    let marked = "return [...document.querySelectorAll('[aria-invalid]')].map(field => field.name)";
    assert_eq!(browser.run(marked), json!(["email"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_page_takes_the_token_from_its_address_and_sets_the_password_once() {
    let (bench, mut browser) = (plain().await, Chromium::start());
    let ada = bench.person().await;
    let id = bench.me(&ada.access).await.member("id").parse().unwrap();
    let token = bench.auth.reset_token(id, &Origin::console()).await.unwrap();
    for said in ["The password is set. Log in.", "`token` is not valid, or not any more"] {
        browser.open(&url(&bench, &format!("/reset#{token}")));
        assert_eq!(
            browser.run("return location.hash"),
            "",
            "the token does not stay in the address"
        );
        browser.type_into("password", "another horse battery");
        browser.click("form button");
        browser.shows(if said.contains("set") { "/login" } else { "/reset" }, said);
        // Another page in between: only what is behind `#` would change.
        browser.open(&url(&bench, "/"));
    }
    assert_eq!(bench.me(&ada.access).await.status, 401);
    browser.open(&url(&bench, "/login"));
    log_in(&mut browser, &ada.name, "another horse battery");
    browser.shows("/", &format!("You are {}.", ada.name));
}

#[tokio::test(flavor = "multi_thread")]
async fn login_page_shows_the_reason_and_counts_the_time_down() {
    let (bench, mut browser) = (plain().await, Chromium::start());
    let ada = bench.person().await;
    browser.open(&url(&bench, "/login"));
    browser.type_into("username", &ada.name);
    browser.type_into("password", "wrong horse battery");
    for _ in 0..5 {
        browser.click("form button");
        browser.shows("/login", "the user name or the password is wrong");
        browser.run("document.querySelector('[role=status]').textContent = ''");
    }
    browser.click("form button");
    browser.shows("/login", "this account had too many failed attempts - try again in");
    assert_eq!(browser.run("return document.querySelector('form button').disabled"), true);
}

/// The policy allows the style of a page by its digest; the tests above show that it allows the
/// script.
#[tokio::test(flavor = "multi_thread")]
async fn pages_keep_to_their_own_policy() {
    let (bench, mut browser) = (plain().await, Chromium::start());
    for path in ["/", "/login", "/signup", "/reset"] {
        browser.open(&url(&bench, path));
        let styled = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(styled, "rgb(246, 248, 250)", "{path}");
    }
}
