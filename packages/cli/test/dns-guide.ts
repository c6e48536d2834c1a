// The server of docs/guide/dns.md.
import type { DnsFacts } from '@posthorn/core/runtime'

export const guideFacts: DnsFacts = {
  hostname: 'mail.example.org',
  domains: ['example.org'],
  listeners: [
    { role: 'mx', tls: 'starttls', host: '::', port: 25 },
    { role: 'submission', tls: 'implicit', host: '::', port: 465 },
  ],
  key: '6b1c7f0a2b0f4d9b8f6e1f5a3f1c9d0e7a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d',
  records: {
    'example.org': [
      {
        name: '20261123-ed25519._domainkey.example.org',
        type: 'TXT',
        // The key of RFC 8463 §A.2.
        value: 'v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=',
        why: 'Others verify with it what we sign for example.org with the key 20261123-ed25519 (DKIM).',
      },
    ],
  },
  silent: [],
}
