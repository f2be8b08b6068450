//! The integrations that this node does not have: what Alertmanager demands of each, from 0.25 to 0.34,
//! so that a file that one takes the other takes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::receivers::HttpSection;
use crate::sections::{Global, List, Receiver, Switch, Url};

/// What is looked at of an integration.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Integration {
    pub(crate) http_config: Option<Spanned<HttpSection>>,
    send_resolved: Option<Switch>,
    actions: Option<Actions>,
    alert_source_token: Option<String>,
    alert_source_token_file: Option<String>,
    api_key: Option<String>,
    api_key_file: Option<String>,
    api_secret: Option<String>,
    api_secret_file: Option<String>,
    api_url: Option<Url>,
    api_url_file: Option<String>,
    app_token: Option<String>,
    app_token_file: Option<String>,
    bot_token: Option<String>,
    bot_token_file: Option<String>,
    chat_id: Option<i64>,
    chat_id_file: Option<String>,
    corp_id: Option<String>,
    custom_fields: Option<BTreeMap<String, String>>,
    issue_type: Option<String>,
    message_type: Option<String>,
    parse_mode: Option<String>,
    phone_number: Option<String>,
    project: Option<String>,
    responders: Option<Vec<Responder>>,
    room_id: Option<String>,
    routing_key: Option<String>,
    routing_key_file: Option<String>,
    service_key: Option<String>,
    service_key_file: Option<String>,
    target_arn: Option<String>,
    token: Option<String>,
    token_file: Option<String>,
    token_id: Option<String>,
    token_id_file: Option<String>,
    topic_arn: Option<String>,
    url: Option<String>,
    url_file: Option<String>,
    update_message: Option<Switch>,
    user_key: Option<String>,
    user_key_file: Option<String>,
    webhook_url: Option<Url>,
    webhook_url_file: Option<String>,
}

/// Buttons of Slack; none of a text of Opsgenie.
#[derive(Debug, Default)]
struct Actions(Vec<Button>);

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Actions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of buttons, or a text")
            }

            fn visit_str<E>(self, _: &str) -> Result<Actions, E> {
                Ok(Actions::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Actions, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Actions)
            }
        }
        from.deserialize_any(Either)
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Button {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    url: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Responder {
    id: Option<String>,
    name: Option<String>,
    username: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What is wrong with an integration, if anything is.
type Wrong = fn(&Integration, &Global) -> Option<&'static str>;

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

/// The message of the first that is so.
fn first(faults: &[(bool, &'static str)]) -> Option<&'static str> {
    let found = faults.iter().find(|(is_so, _)| *is_so);
    found.map(|(_, message)| *message)
}

impl Receiver {
    /// The integrations that this node does not have: key, configurations, what each must have.
    pub(crate) fn integrations(&self) -> [(&'static str, &List<Integration>, Wrong); 16] {
        [
            ("discord_configs", &self.discord_configs, discord),
            ("incidentio_configs", &self.incidentio_configs, incidentio),
            ("jira_configs", &self.jira_configs, jira),
            ("mattermost_configs", &self.mattermost_configs, mattermost),
            ("msteams_configs", &self.msteams_configs, msteams),
            ("msteamsv2_configs", &self.msteamsv2_configs, msteams),
            ("opsgenie_configs", &self.opsgenie_configs, opsgenie),
            ("pagerduty_configs", &self.pagerduty_configs, pagerduty),
            ("pushover_configs", &self.pushover_configs, pushover),
            ("rocketchat_configs", &self.rocketchat_configs, rocketchat),
            ("slack_configs", &self.slack_configs, slack),
            ("sns_configs", &self.sns_configs, sns),
            ("telegram_configs", &self.telegram_configs, telegram),
            ("victorops_configs", &self.victorops_configs, victorops),
            ("webex_configs", &self.webex_configs, webex),
            ("wechat_configs", &self.wechat_configs, wechat),
        ]
    }
}

/// What of `global` contradicts itself.
pub(crate) fn global_fault(global: &Global) -> Option<&'static str> {
    let slack_url = global.slack_api_url.is_some();
    // A token that was given as that of the URL of messages, before there was a key for it.
    let messages = global.slack_app_url.as_ref();
    let messages = messages.map_or(SLACK_MESSAGES, |url| &url.0);
    let is_messages = global
        .slack_api_url
        .as_ref()
        .is_some_and(|url| url.0 == messages);
    let slack_url_file = given(&global.slack_api_url_file);
    let slack_token = given(&global.slack_app_token);
    let slack_token_file = given(&global.slack_app_token_file);
    let both = |text: &Option<String>, file: &Option<String>| given(text) && given(file);
    first(&[
        (
            slack_url && slack_url_file,
            "at most one of slack_api_url & slack_api_url_file must be configured",
        ),
        (
            slack_token && slack_token_file,
            "at most one of slack_app_token & slack_app_token_file must be configured",
        ),
        (
            (slack_url || slack_url_file) && (slack_token || slack_token_file) && !is_messages,
            "at most one of slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file \
             must be configured",
        ),
        (
            both(&global.opsgenie_api_key, &global.opsgenie_api_key_file),
            "at most one of opsgenie_api_key & opsgenie_api_key_file must be configured",
        ),
        (
            both(&global.victorops_api_key, &global.victorops_api_key_file),
            "at most one of victorops_api_key & victorops_api_key_file must be configured",
        ),
        (
            both(&global.telegram_bot_token, &global.telegram_bot_token_file),
            "at most one of telegram_bot_token & telegram_bot_token_file must be configured",
        ),
        (
            both(&global.smtp_auth_password, &global.smtp_auth_password_file),
            "at most one of smtp_auth_password & smtp_auth_password_file must be configured",
        ),
        (
            both(&global.smtp_auth_secret, &global.smtp_auth_secret_file),
            "at most one of smtp_auth_secret & smtp_auth_secret_file must be configured",
        ),
        (
            both(&global.rocketchat_token, &global.rocketchat_token_file),
            "at most one of rocketchat_token & rocketchat_token_file must be configured",
        ),
        (
            both(
                &global.rocketchat_token_id,
                &global.rocketchat_token_id_file,
            ),
            "at most one of rocketchat_token_id & rocketchat_token_id_file must be configured",
        ),
        (
            both(&global.wechat_api_secret, &global.wechat_api_secret_file),
            "at most one of wechat_api_secret & wechat_api_secret_file must be configured",
        ),
        (
            global.mattermost_webhook_url.is_some() && given(&global.mattermost_webhook_url_file),
            "at most one of mattermost_webhook_url & mattermost_webhook_url_file must be configured",
        ),
    ])
}

fn discord(it: &Integration, _: &Global) -> Option<&'static str> {
    let (url, file) = (it.webhook_url.is_some(), given(&it.webhook_url_file));
    first(&[
        (
            !url && !file,
            "one of webhook_url or webhook_url_file must be configured",
        ),
        (
            url && file,
            "at most one of webhook_url & webhook_url_file must be configured",
        ),
    ])
}

fn incidentio(it: &Integration, _: &Global) -> Option<&'static str> {
    let (url, file) = (given(&it.url), given(&it.url_file));
    let (token, token_file) = (
        given(&it.alert_source_token),
        given(&it.alert_source_token_file),
    );
    let authorized = it
        .http_config
        .as_ref()
        .is_some_and(|it| it.value.is_authorized());
    first(&[
        (!url && !file, "one of url or url_file must be configured"),
        (
            url && file,
            "at most one of url & url_file must be configured",
        ),
        (
            token && token_file,
            "at most one of alert_source_token & alert_source_token_file must be configured",
        ),
        (
            !token && !token_file && !authorized,
            "at least one of alert_source_token, alert_source_token_file or http_config.authorization \
             must be configured",
        ),
    ])
}

fn jira(it: &Integration, global: &Global) -> Option<&'static str> {
    let url = it.api_url.is_some() || global.jira_api_url.is_some();
    first(&[
        (!given(&it.project), "missing project in jira_config"),
        (!given(&it.issue_type), "missing issue_type in jira_config"),
        (!url, "no global Jira Cloud URL set"),
    ])
}

fn mattermost(it: &Integration, global: &Global) -> Option<&'static str> {
    let (url, file) = (it.webhook_url.is_some(), given(&it.webhook_url_file));
    let all = global.mattermost_webhook_url.is_some() || given(&global.mattermost_webhook_url_file);
    first(&[
        (
            url && file,
            "at most one of webhook_url & webhook_url_file must be configured",
        ),
        (
            !url && !file && !all,
            "missing webhook_url or webhook_url_file on mattermost_config",
        ),
    ])
}

fn msteams(it: &Integration, global: &Global) -> Option<&'static str> {
    discord(it, global)
}

fn opsgenie(it: &Integration, global: &Global) -> Option<&'static str> {
    let (key, file) = (given(&it.api_key), given(&it.api_key_file));
    let all = given(&global.opsgenie_api_key) || given(&global.opsgenie_api_key_file);
    let mut responders = it.responders.iter().flatten();
    let nameless = |it: &Responder| !given(&it.id) && !given(&it.name) && !given(&it.username);
    let strange = |it: &Responder| {
        let kind = it.kind.as_deref().unwrap_or_default().to_lowercase();
        let known = ["team", "teams", "user", "escalation", "schedule"];
        !kind.contains("{{") && !known.contains(&kind.as_str())
    };
    let is_nameless = responders.clone().any(nameless);
    first(&[
        (
            key && file,
            "at most one of api_key & api_key_file must be configured",
        ),
        (
            is_nameless,
            "a responder has to have at least one of id, username or name specified",
        ),
        (
            responders.any(strange),
            "the type of a responder is one of team, teams, user, escalation and schedule",
        ),
        (
            !key && !file && !all,
            "no global OpsGenie API Key set either inline or in a file",
        ),
    ])
}

fn pagerduty(it: &Integration, _: &Global) -> Option<&'static str> {
    let keys = [&it.routing_key, &it.service_key];
    let files = [&it.routing_key_file, &it.service_key_file];
    first(&[
        (
            !keys.into_iter().chain(files).any(given),
            "missing service or routing key in PagerDuty config",
        ),
        (
            given(&it.routing_key) && given(&it.routing_key_file),
            "at most one of routing_key & routing_key_file must be configured",
        ),
        (
            given(&it.service_key) && given(&it.service_key_file),
            "at most one of service_key & service_key_file must be configured",
        ),
    ])
}

fn pushover(it: &Integration, _: &Global) -> Option<&'static str> {
    let (user, user_file) = (given(&it.user_key), given(&it.user_key_file));
    let (token, token_file) = (given(&it.token), given(&it.token_file));
    first(&[
        (!user && !user_file, "missing user key in Pushover config"),
        (
            user && user_file,
            "at most one of user_key & user_key_file must be configured",
        ),
        (!token && !token_file, "missing token in Pushover config"),
        (
            token && token_file,
            "at most one of token & token_file must be configured",
        ),
    ])
}

fn rocketchat(it: &Integration, global: &Global) -> Option<&'static str> {
    let (token, token_file) = (given(&it.token), given(&it.token_file));
    let (id, id_file) = (given(&it.token_id), given(&it.token_id_file));
    let all = given(&global.rocketchat_token) || given(&global.rocketchat_token_file);
    let all_ids = given(&global.rocketchat_token_id) || given(&global.rocketchat_token_id_file);
    first(&[
        (
            token && token_file,
            "at most one of token & token_file must be configured",
        ),
        (
            id && id_file,
            "at most one of token_id & token_id_file must be configured",
        ),
        (
            !id && !id_file && !all_ids,
            "no global Rocketchat TokenID set either inline or in a file",
        ),
        (
            !token && !token_file && !all,
            "no global Rocketchat Token set either inline or in a file",
        ),
    ])
}

fn slack(it: &Integration, global: &Global) -> Option<&'static str> {
    let (url, url_file) = (it.api_url.is_some(), given(&it.api_url_file));
    let (token, token_file) = (given(&it.app_token), given(&it.app_token_file));
    let all = global.slack_api_url.is_some() || given(&global.slack_api_url_file);
    let all = all || given(&global.slack_app_token) || given(&global.slack_app_token_file);
    let buttons = it.actions.as_ref().map_or(&[][..], |it| &it.0);
    let unclear = |it: &Button| !given(&it.kind) || !given(&it.text);
    let aimless = |it: &Button| !given(&it.url) && !given(&it.name);
    let is_messages = it
        .api_url
        .as_ref()
        .is_some_and(|url| url.0 == SLACK_MESSAGES);
    first(&[
        (
            it.update_message.is_some_and(|it| it.0) && !is_messages,
            "update_message can only be used with bot tokens. api_url must be set to \
             https://slack.com/api/chat.postMessage",
        ),
        (
            url && url_file,
            "at most one of api_url & api_url_file must be configured",
        ),
        (
            token && token_file,
            "at most one of app_token & app_token_file must be configured",
        ),
        (
            (url || url_file) && (token || token_file),
            "at most one of api_url/api_url_file & app_token/app_token_file must be configured",
        ),
        (
            buttons.iter().any(unclear),
            "missing type or text in Slack action configuration",
        ),
        (
            buttons.iter().any(aimless),
            "missing name or url in Slack action configuration",
        ),
        (
            !url && !url_file && !token && !token_file && !all,
            "no global Slack API URL set either inline or in a file, nor an App token",
        ),
    ])
}

fn sns(it: &Integration, _: &Global) -> Option<&'static str> {
    let targets = [&it.target_arn, &it.topic_arn, &it.phone_number];
    (!targets.into_iter().any(given))
        .then_some("must provide either a Target ARN, Topic ARN, or Phone Number")
}

fn telegram(it: &Integration, global: &Global) -> Option<&'static str> {
    let (token, file) = (given(&it.bot_token), given(&it.bot_token_file));
    let all = given(&global.telegram_bot_token) || given(&global.telegram_bot_token_file);
    let chat = it.chat_id.is_some_and(|id| id != 0);
    let modes = ["", "Markdown", "MarkdownV2", "HTML"];
    let mode = it.parse_mode.as_deref().unwrap_or_default();
    first(&[
        (
            !token && !file && !all,
            "missing bot_token or bot_token_file on telegram_config",
        ),
        (
            token && file,
            "at most one of bot_token & bot_token_file must be configured",
        ),
        (
            !chat && !given(&it.chat_id_file),
            "missing chat_id on telegram_config",
        ),
        (
            !modes.contains(&mode),
            "unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string",
        ),
    ])
}

fn victorops(it: &Integration, global: &Global) -> Option<&'static str> {
    let (key, file) = (given(&it.api_key), given(&it.api_key_file));
    let all = given(&global.victorops_api_key) || given(&global.victorops_api_key_file);
    let mut fields = it.custom_fields.iter().flatten();
    let is_fixed = |name: &str| {
        let fixed = [
            "routing_key",
            "message_type",
            "state_message",
            "entity_display_name",
            "monitoring_tool",
            "entity_id",
            "entity_state",
        ];
        fixed.contains(&name)
    };
    first(&[
        (
            !given(&it.routing_key),
            "missing Routing key in VictorOps config",
        ),
        (
            key && file,
            "at most one of api_key & api_key_file must be configured",
        ),
        (
            fields.any(|(name, _)| is_fixed(name)),
            "a custom field of a VictorOps config has the name of a fixed field",
        ),
        (!key && !file && !all, "no global VictorOps API Key set"),
    ])
}

fn webex(it: &Integration, _: &Global) -> Option<&'static str> {
    let authorized = it
        .http_config
        .as_ref()
        .is_some_and(|it| it.value.is_authorized());
    first(&[
        (!given(&it.room_id), "missing room_id on webex_config"),
        (
            !authorized,
            "missing webex_configs.http_config.authorization",
        ),
    ])
}

fn wechat(it: &Integration, global: &Global) -> Option<&'static str> {
    let (secret, file) = (given(&it.api_secret), given(&it.api_secret_file));
    let all = given(&global.wechat_api_secret) || given(&global.wechat_api_secret_file);
    let corp = given(&it.corp_id) || given(&global.wechat_api_corp_id);
    let kind = it.message_type.as_deref().unwrap_or_default();
    first(&[
        (
            secret && file,
            "at most one of api_secret & api_secret_file must be configured",
        ),
        (
            !["", "text", "markdown"].contains(&kind),
            "the message_type of a WeChat config is text or markdown",
        ),
        (!secret && !file && !all, "no global Wechat ApiSecret set"),
        (!corp, "no global Wechat CorpID set"),
    ])
}

/// Where Slack takes messages of those who have a token.
const SLACK_MESSAGES: &str = "https://slack.com/api/chat.postMessage";
