//! The least rights that suffice, as a policy to copy.

/// What `provider show` prints: everything there is to know about rights.
pub(super) const PERMISSIONS: &str = r#"An IAM policy that lets dnseal find the zone, read it, and create and delete TXT at challenge names only. ZONEID is the ID of the hosted zone:
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Effect": "Allow",
          "Action": "route53:ListHostedZonesByName",
          "Resource": "*"
        },
        {
          "Effect": "Allow",
          "Action": "route53:GetChange",
          "Resource": "arn:aws:route53:::change/*"
        },
        {
          "Effect": "Allow",
          "Action": "route53:ListResourceRecordSets",
          "Resource": "arn:aws:route53:::hostedzone/ZONEID"
        },
        {
          "Effect": "Allow",
          "Action": "route53:ChangeResourceRecordSets",
          "Resource": "arn:aws:route53:::hostedzone/ZONEID",
          "Condition": {
            "ForAllValues:StringEquals": {
              "route53:ChangeResourceRecordSetsActions": ["CREATE", "DELETE"],
              "route53:ChangeResourceRecordSetsRecordTypes": ["TXT"]
            },
            "ForAllValues:StringLike": {
              "route53:ChangeResourceRecordSetsNormalizedRecordNames": ["_acme-challenge.*"]
            }
          }
        }
      ]
    }

Where `_acme-challenge` names are delegated by CNAME, write the names they lead to in place of `_acme-challenge.*`.
With `hosted-zone-id` the first statement is not needed; route53:GetHostedZone on the zone is welcome, and not needed either.
With `assume-role` the role has this policy and trusts who assumes it, who needs sts:AssumeRole on the role.
"#;

/// What to do about a refusal of `action`: which right is missing on what, and a policy that grants it.
pub(super) fn hint(action: &str, zone: Option<&str>, words: &str) -> String {
    let (action, resource) = match named(words) {
        Some((action, resource)) => (action.to_owned(), resource.map(str::to_owned)),
        None => (format!("route53:{action}"), None),
    };
    let partition = resource
        .as_deref()
        .and_then(|resource| resource.split(':').nth(1))
        .filter(|partition| partition.starts_with("aws"))
        .unwrap_or("aws")
        .to_owned();
    let zone = zone.unwrap_or("ZONEID");
    let on = resource.unwrap_or_else(|| match action.as_str() {
        "route53:ListHostedZonesByName" => "*".to_owned(),
        "route53:GetChange" => format!("arn:{partition}:route53:::change/*"),
        _ => format!("arn:{partition}:route53:::hostedzone/{zone}"),
    });
    let policy = PERMISSIONS
        .split_once('\n')
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .map_or(PERMISSIONS, |(policy, _)| policy)
        .replace("ZONEID", zone)
        .replace("arn:aws:", &format!("arn:{partition}:"));
    format!("allow {action} on {on}; this policy suffices, and allows nothing else:\n{policy}")
}

/// Action and resource out of `User: … is not authorized to perform: ACTION on resource: ARN because …`.
fn named(words: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = words.split_once("not authorized to perform: ")?;
    let action = rest.split_whitespace().next()?;
    let resource = rest
        .split_once("on resource: ")
        .and_then(|(_, rest)| rest.split_whitespace().next());
    Some((action, resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_json() {
        let text = hint("ListResourceRecordSets", Some("Z1"), "AccessDenied");
        let (first, policy) = text.split_once('\n').unwrap();
        assert_eq!(
            first,
            "allow route53:ListResourceRecordSets on arn:aws:route53:::hostedzone/Z1; \
             this policy suffices, and allows nothing else:"
        );
        let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 4);
        assert!(!text.contains("ZONEID"));
    }

    #[test]
    fn the_servers_own_words_name_action_and_resource() {
        let text = hint(
            "ChangeResourceRecordSets",
            Some("Z1"),
            "AccessDenied: User: arn:aws-cn:iam::1:user/u is not authorized to perform: \
             route53:ChangeResourceRecordSets on resource: arn:aws-cn:route53:::hostedzone/Z1 because no policy allows it",
        );
        assert!(
            text.starts_with(
                "allow route53:ChangeResourceRecordSets on arn:aws-cn:route53:::hostedzone/Z1;"
            ),
            "{text}"
        );
        assert!(text.contains("\"arn:aws-cn:route53:::change/*\""), "{text}");
        let text = hint(
            "ListHostedZonesByName",
            None,
            "User: u is not authorized to perform: route53:ListHostedZonesByName",
        );
        assert!(
            text.starts_with("allow route53:ListHostedZonesByName on *;"),
            "{text}"
        );
    }
}
