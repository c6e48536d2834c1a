// In front of a server that already exists: takes mail for its domains on port 25, passes it on, tells the truth about
// what it could not pass on.
import { defineConfig } from '@posthorn/core'

export default defineConfig({
  hostname: 'mx.example.org',
  data: '/var/lib/posthorn',
  listeners: { mx: { listen: 25 } },
  plugins: ['storage-level', { relay: { to: 'mail.internal:25', domains: ['example.org', 'example.net'] } }],
})
