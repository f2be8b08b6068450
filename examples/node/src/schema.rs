//! The keys that Alertmanager knows, from 0.25 to 0.34, and which of their values are secrets: one
//! table, from which the node tells which keys of a file nobody knows and what it shows of the file.

/// The keys of a mapping. A list stands for its items.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Shown as they are, with all that is under them.
    plain: &'static [&'static str],
    /// Never shown, with all that is under them. Alertmanager 0.25 reads `<secret>` back where it knows
    /// the key.
    secret: &'static [&'static str],
    /// URLs, which it reads back as URLs alone.
    url: &'static [&'static str],
    /// Mappings whose keys are known as well.
    inner: &'static [(&'static str, &'static Self)],
    /// Mappings from names that people choose to such mappings.
    named: &'static [(&'static str, &'static Self)],
    /// Keys that are refused: what they asked for, Alertmanager does no more.
    gone: &'static [&'static str],
}

/// What is under a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Gone,
    Keys(&'static Keys),
    Named(&'static Keys),
    Plain,
    Secret,
    Unknown,
    Url,
}

impl Keys {
    /// What is under a key of this mapping.
    pub(crate) fn value(&self, key: &str) -> Value {
        let inner = |list: &[(&str, &'static Self)]| {
            let found = list.iter().find(|(name, _)| *name == key);
            found.map(|(_, keys)| *keys)
        };
        if self.plain.contains(&key) {
            return Value::Plain;
        }
        if self.secret.contains(&key) {
            return Value::Secret;
        }
        if self.url.contains(&key) {
            return Value::Url;
        }
        if self.gone.contains(&key) {
            return Value::Gone;
        }
        match (inner(self.inner), inner(self.named)) {
            (Some(keys), _) => Value::Keys(keys),
            (_, Some(keys)) => Value::Named(keys),
            _ => Value::Unknown,
        }
    }
}

const NOTHING: Keys = Keys {
    plain: &[],
    secret: &[],
    url: &[],
    inner: &[],
    named: &[],
    gone: &[],
};

/// The whole file, but for the section that is this program's own.
pub(crate) static FILE: &Keys = &Keys {
    plain: &["templates"],
    inner: &[
        ("global", GLOBAL),
        ("route", &ROUTE),
        ("receivers", RECEIVER),
        ("inhibit_rules", INHIBIT),
        ("time_intervals", INTERVALS),
        ("mute_time_intervals", INTERVALS),
        ("tracing", TRACING),
        ("event_recorder", EVENT_RECORDER),
    ],
    ..NOTHING
};

const GLOBAL: &Keys = &Keys {
    plain: &[
        "resolve_timeout",
        "smtp_from",
        "smtp_hello",
        "smtp_smarthost",
        "smtp_auth_username",
        "smtp_auth_password_file",
        "smtp_auth_secret_file",
        "smtp_auth_identity",
        "smtp_require_tls",
        "smtp_force_implicit_tls",
        "slack_api_url_file",
        "slack_app_token_file",
        "opsgenie_api_key_file",
        "wechat_api_secret_file",
        "wechat_api_corp_id",
        "victorops_api_key_file",
        "telegram_bot_token_file",
        "rocketchat_token_file",
        "rocketchat_token_id_file",
        "mattermost_webhook_url_file",
    ],
    secret: &[
        "smtp_auth_password",
        "smtp_auth_secret",
        "slack_api_url",
        "slack_app_token",
        "opsgenie_api_key",
        "wechat_api_secret",
        "victorops_api_key",
        "telegram_bot_token",
        "rocketchat_token",
        "rocketchat_token_id",
        "mattermost_webhook_url",
    ],
    url: &[
        "slack_app_url",
        "pagerduty_url",
        "opsgenie_api_url",
        "wechat_api_url",
        "victorops_api_url",
        "telegram_api_url",
        "webex_api_url",
        "rocketchat_api_url",
        "jira_api_url",
    ],
    inner: &[("http_config", HTTP), ("smtp_tls_config", TLS)],
    ..NOTHING
};

static ROUTE: Keys = Keys {
    plain: &[
        "receiver",
        "group_by",
        "group_wait",
        "group_interval",
        "repeat_interval",
        "match",
        "match_re",
        "matchers",
        "continue",
        "mute_time_intervals",
        "active_time_intervals",
        "labels",
    ],
    inner: &[("routes", &ROUTE)],
    ..NOTHING
};

const INHIBIT: &Keys = &Keys {
    plain: &[
        "name",
        "source_match",
        "source_match_re",
        "source_matchers",
        "target_match",
        "target_match_re",
        "target_matchers",
        "equal",
    ],
    ..NOTHING
};

const INTERVALS: &Keys = &Keys {
    plain: &["name"],
    inner: &[("time_intervals", INTERVAL)],
    ..NOTHING
};

const INTERVAL: &Keys = &Keys {
    plain: &["weekdays", "days_of_month", "months", "years", "location"],
    inner: &[(
        "times",
        &Keys {
            plain: &["start_time", "end_time"],
            ..NOTHING
        },
    )],
    ..NOTHING
};

const TRACING: &Keys = &Keys {
    plain: &[
        "client_type",
        "sampling_fraction",
        "insecure",
        "compression",
        "timeout",
        "endpoint",
    ],
    inner: &[("tls_config", TLS)],
    named: &[("headers", HEADER)],
    ..NOTHING
};

/// Its outputs are not looked into.
const EVENT_RECORDER: &Keys = &Keys {
    secret: &[
        "file_outputs",
        "webhook_outputs",
        "kafka_outputs",
        "stdout_outputs",
    ],
    ..NOTHING
};

const HTTP: &Keys = &Keys {
    plain: &[
        "bearer_token_file",
        "no_proxy",
        "proxy_from_environment",
        "follow_redirects",
        "enable_http2",
    ],
    secret: &["bearer_token", "proxy_connect_header"],
    url: &["proxy_url"],
    inner: &[
        (
            "basic_auth",
            &Keys {
                plain: &["username", "username_file", "username_ref", "password_file"],
                secret: &["password", "password_ref"],
                ..NOTHING
            },
        ),
        (
            "authorization",
            &Keys {
                plain: &["type", "credentials_file"],
                secret: &["credentials", "credentials_ref"],
                ..NOTHING
            },
        ),
        (
            "oauth2",
            &Keys {
                plain: &[
                    "client_id",
                    "client_secret_file",
                    "scopes",
                    "no_proxy",
                    "proxy_from_environment",
                ],
                secret: &["client_secret", "endpoint_params", "proxy_connect_header"],
                url: &["token_url", "proxy_url"],
                inner: &[("tls_config", TLS)],
                ..NOTHING
            },
        ),
        ("tls_config", TLS),
    ],
    named: &[("http_headers", HEADER)],
    ..NOTHING
};

const HEADER: &Keys = &Keys {
    plain: &["values", "files"],
    secret: &["secrets"],
    ..NOTHING
};

const TLS: &Keys = &Keys {
    plain: &[
        "ca",
        "ca_file",
        "cert",
        "cert_file",
        "key_file",
        "server_name",
        "insecure_skip_verify",
        "min_version",
        "max_version",
    ],
    secret: &["key"],
    ..NOTHING
};

const RECEIVER: &Keys = &Keys {
    plain: &["name", "labels"],
    inner: &[
        ("discord_configs", DISCORD),
        ("email_configs", EMAIL),
        ("incidentio_configs", INCIDENTIO),
        ("jira_configs", JIRA),
        ("mattermost_configs", MATTERMOST),
        ("msteams_configs", MSTEAMS),
        ("msteamsv2_configs", MSTEAMS),
        ("opsgenie_configs", OPSGENIE),
        ("pagerduty_configs", PAGERDUTY),
        ("pushover_configs", PUSHOVER),
        ("rocketchat_configs", ROCKETCHAT),
        ("slack_configs", SLACK),
        ("sns_configs", SNS),
        ("telegram_configs", TELEGRAM),
        ("victorops_configs", VICTOROPS),
        ("webex_configs", WEBEX),
        ("webhook_configs", WEBHOOK),
        ("wechat_configs", WECHAT),
    ],
    gone: &["hipchat_configs"],
    ..NOTHING
};

const WEBHOOK: &Keys = &Keys {
    plain: &["send_resolved", "url_file", "max_alerts", "timeout"],
    // A whole message, written by hand, with whatever its server asks for.
    secret: &["payload"],
    url: &["url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const EMAIL: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "to",
        "from",
        "hello",
        "smarthost",
        "auth_username",
        "auth_password_file",
        "auth_secret_file",
        "auth_identity",
        "headers",
        "html",
        "text",
        "require_tls",
        "force_implicit_tls",
    ],
    secret: &["auth_password", "auth_secret"],
    inner: &[
        ("tls_config", TLS),
        (
            "threading",
            &Keys {
                plain: &["enabled", "thread_by_date"],
                ..NOTHING
            },
        ),
    ],
    ..NOTHING
};

const DISCORD: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "webhook_url_file",
        "content",
        "title",
        "message",
        "username",
        "avatar_url",
    ],
    secret: &["webhook_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const INCIDENTIO: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "url_file",
        "alert_source_token_file",
        "max_alerts",
        "timeout",
    ],
    secret: &["alert_source_token"],
    url: &["url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const JIRA: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "api_type",
        "project",
        "summary",
        "description",
        "labels",
        "priority",
        "issue_type",
        "reopen_transition",
        "resolve_transition",
        "wont_fix_resolution",
        "reopen_duration",
        "fields",
    ],
    url: &["api_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const MATTERMOST: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "webhook_url_file",
        "channel",
        "username",
        "text",
        "fallback",
        "color",
        "pretext",
        "author_name",
        "author_link",
        "author_icon",
        "title",
        "title_link",
        "fields",
        "thumb_url",
        "footer",
        "footer_icon",
        "image_url",
        "icon_url",
        "icon_emoji",
        "attachments",
        "type",
        "props",
        "priority",
    ],
    secret: &["webhook_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const MSTEAMS: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "webhook_url_file",
        "title",
        "summary",
        "text",
    ],
    secret: &["webhook_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const OPSGENIE: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "api_key_file",
        "message",
        "description",
        "source",
        "details",
        "entity",
        "actions",
        "tags",
        "note",
        "priority",
        "update_alerts",
    ],
    secret: &["api_key"],
    url: &["api_url"],
    inner: &[
        ("http_config", HTTP),
        (
            "responders",
            &Keys {
                plain: &["id", "name", "username", "type"],
                ..NOTHING
            },
        ),
    ],
    gone: &["teams"],
    ..NOTHING
};

const PAGERDUTY: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "service_key_file",
        "routing_key_file",
        "client",
        "client_url",
        "description",
        "details",
        "source",
        "severity",
        "class",
        "component",
        "group",
        "timeout",
    ],
    secret: &["service_key", "routing_key"],
    url: &["url"],
    inner: &[
        ("http_config", HTTP),
        (
            "images",
            &Keys {
                plain: &["src", "alt", "href"],
                ..NOTHING
            },
        ),
        (
            "links",
            &Keys {
                plain: &["href", "text"],
                ..NOTHING
            },
        ),
    ],
    ..NOTHING
};

const PUSHOVER: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "user_key_file",
        "token_file",
        "title",
        "message",
        "url",
        "url_title",
        "device",
        "sound",
        "priority",
        "retry",
        "expire",
        "ttl",
        "html",
        "monospace",
    ],
    secret: &["user_key", "token"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const ROCKETCHAT: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "token_id_file",
        "token_file",
        "channel",
        "color",
        "title",
        "title_link",
        "text",
        "fields",
        "short_fields",
        "emoji",
        "icon_url",
        "image_url",
        "thumb_url",
        "link_names",
        "actions",
    ],
    secret: &["token_id", "token"],
    url: &["api_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const SLACK: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "api_url_file",
        "app_token_file",
        "channel",
        "username",
        "color",
        "title",
        "title_link",
        "pretext",
        "text",
        "message_text",
        "short_fields",
        "footer",
        "fallback",
        "callback_id",
        "icon_emoji",
        "icon_url",
        "image_url",
        "thumb_url",
        "link_names",
        "mrkdwn_in",
        "update_message",
        "timeout",
    ],
    secret: &["api_url", "app_token"],
    url: &["app_url"],
    inner: &[
        ("http_config", HTTP),
        (
            "fields",
            &Keys {
                plain: &["title", "value", "short"],
                ..NOTHING
            },
        ),
        (
            "actions",
            &Keys {
                plain: &["type", "text", "url", "style", "name", "value"],
                inner: &[(
                    "confirm",
                    &Keys {
                        plain: &["text", "title", "ok_text", "dismiss_text"],
                        ..NOTHING
                    },
                )],
                ..NOTHING
            },
        ),
    ],
    ..NOTHING
};

const SNS: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "topic_arn",
        "phone_number",
        "target_arn",
        "subject",
        "message",
        "attributes",
        "use_aws_http_client",
    ],
    url: &["api_url"],
    inner: &[
        ("http_config", HTTP),
        (
            "sigv4",
            &Keys {
                plain: &[
                    "region",
                    "access_key",
                    "profile",
                    "role_arn",
                    "external_id",
                    "use_fips_sts_endpoint",
                ],
                secret: &["secret_key"],
                ..NOTHING
            },
        ),
    ],
    ..NOTHING
};

const TELEGRAM: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "bot_token_file",
        "chat_id",
        "chat_id_file",
        "message_thread_id",
        "message",
        "disable_notifications",
        "parse_mode",
    ],
    secret: &["bot_token"],
    url: &["api_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const VICTOROPS: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "api_key_file",
        "routing_key",
        "message_type",
        "state_message",
        "entity_display_name",
        "monitoring_tool",
        "custom_fields",
    ],
    secret: &["api_key"],
    url: &["api_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const WEBEX: &Keys = &Keys {
    plain: &["send_resolved", "message", "room_id"],
    url: &["api_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};

const WECHAT: &Keys = &Keys {
    plain: &[
        "send_resolved",
        "api_secret_file",
        "corp_id",
        "message",
        "to_user",
        "to_party",
        "to_tag",
        "agent_id",
        "message_type",
    ],
    secret: &["api_secret"],
    url: &["api_url"],
    inner: &[("http_config", HTTP)],
    ..NOTHING
};
