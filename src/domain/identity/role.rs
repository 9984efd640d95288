//! Roles: what a person may do in their tenant.

use super::scopes::Scopes;
use super::words;
use crate::domain::ids::TenantId;

words! {
    /// What a person may do, from the least to the most.
    Role, "role", "invalid_role";
    /// Looks at sessions, messages, events and webhooks.
    Viewer = "viewer",
    /// Works with them.
    Member = "member",
    /// Also says who else may: people, keys, the audit log.
    Admin = "admin",
    /// All of the tenant. Every tenant has one at least.
    Owner = "owner",
}

impl Role {
    /// What the role may in a tenant. Whoever runs the service may `admin:*` too: admins and owners of its first tenant.
    #[must_use]
    pub fn scopes(self, tenant: TenantId) -> Scopes {
        let scopes = match self {
            Self::Viewer => Scopes::VIEWER,
            Self::Member => Scopes::MEMBER,
            Self::Admin | Self::Owner => Scopes::ALL,
        };
        scopes.within(tenant)
    }

    /// Whether somebody of this role may give `other` to people, or change people who have it.
    #[must_use]
    pub fn governs(self, other: Self) -> bool {
        self >= Self::Admin && self >= other
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::identity::Scope;

    #[test]
    fn each_role_may_what_the_one_below_it_may_and_more() {
        for tenant in [TenantId::DEFAULT, TenantId(Uuid::nil())] {
            let scopes = [Role::Viewer, Role::Member, Role::Admin].map(|role| role.scopes(tenant));
            for pair in scopes.windows(2) {
                assert!(pair[1].contains(pair[0]) && pair[1] != pair[0]);
            }
        }
    }

    #[test]
    fn only_the_operators_tenant_has_the_services_scopes() {
        let other = TenantId(Uuid::nil());
        for role in Role::ALL {
            assert!(!role.scopes(other).has(Scope::AdminRead) && !role.scopes(other).has(Scope::AdminWrite));
        }
        assert!(Role::Owner.scopes(TenantId::DEFAULT).has(Scope::AdminWrite));
        assert!(!Role::Member.scopes(TenantId::DEFAULT).has(Scope::AdminRead));
    }

    #[test]
    fn a_viewer_sees_no_keys_people_or_audit() {
        let viewer = Role::Viewer.scopes(TenantId::DEFAULT);
        for scope in [Scope::KeysRead, Scope::UsersRead, Scope::AuditRead, Scope::AdminRead] {
            assert!(!viewer.has(scope), "{scope}");
        }
        assert_eq!(viewer.to_string(), "sessions:read messages:read events:read webhooks:read");
    }

    #[test]
    fn an_admin_makes_no_owner() {
        assert!(Role::Owner.governs(Role::Owner) && Role::Admin.governs(Role::Admin));
        assert!(!Role::Admin.governs(Role::Owner) && !Role::Member.governs(Role::Viewer));
    }
}
