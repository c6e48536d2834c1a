// Keeps the mail of one domain in Maildir folders; its users send through a smarthost.
import { defineConfig } from '@posthorn/core'

export default defineConfig({
  hostname: 'mail.example.org',
  data: '/var/lib/posthorn',
  listeners: { mx: { listen: 25 }, submission: { listen: 587 }, submissions: { listen: 465 } },
  tls: { default: { cert: '/etc/posthorn/tls/fullchain.pem', key: '/etc/posthorn/tls/privkey.pem' } },
  plugins: [
    'storage-level',
    { domains: { domains: { 'example.org': ['anna', 'bob'] } } },
    {
      users: {
        users: {
          // The hash of "correct horse battery staple"; `posthorn passwd` makes yours.
          'anna@example.org':
            '$scrypt$ln=15,r=8,p=1$qc2lPv1wMDn7EkPM3JrZUw$QfEtvwTjbwPIPdSOj2TJiYe3CVb141AxQqevGKgC4v8',
        },
      },
    },
    'maildir',
    { relay: { to: 'smtp.example.net:587', tls: 'verify' } },
  ],
})
