// The SMTP and LMTP client, for delivery plugins.
export {}
