"""The headers that every answer has."""

CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'"
)

# On everything: even the answer to nonsense must not be kept, sniffed or framed.
COMMON = {
    b"Content-Security-Policy": CONTENT_SECURITY_POLICY,
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Permissions-Policy": b"camera=(), microphone=(), geolocation=(), payment=()",
    b"X-Robots-Tag": b"noindex, nofollow",
    b"Cache-Control": b"no-store",
}
# Browsers know these with https alone, and complain otherwise.
CROSS_ORIGIN_OPENER_POLICY = b"same-origin"
STRICT_TRANSPORT_SECURITY = b"max-age=31536000; includeSubDomains"
