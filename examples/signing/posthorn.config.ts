// Checks who sent what comes in, signs what its users send, and seals what it forwards.
import { defineConfig } from '@posthorn/core'

export default defineConfig({
  hostname: 'mail.example.org',
  data: '/var/lib/posthorn',
  listeners: { mx: { listen: 25 }, submissions: { listen: 465 } },
  plugins: [
    'storage-level',
    { domains: { domains: { 'example.org': ['anna', 'bob'] } } },
    // The hash of "correct horse battery staple"; `posthorn passwd` makes yours.
    {
      users: {
        users: {
          'anna@example.org':
            '$scrypt$ln=15,r=8,p=1$qc2lPv1wMDn7EkPM3JrZUw$QfEtvwTjbwPIPdSOj2TJiYe3CVb141AxQqevGKgC4v8',
        },
      },
    },
    { aliases: { domains: ['example.org'], aliases: { carol: 'carol@example.net' } } },
    'maildir',
    'outbound',
    // Last, in this order: they speak of the message as it leaves.
    'mailauth',
    'dkim-sign',
    { 'arc-seal': { domain: 'example.org' } },
  ],
})
