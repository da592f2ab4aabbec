"""The places that bytes come from and go to: URIs, access rules, object stores and HTTP."""
