import { defineConfig } from '@posthorn/core'

export default defineConfig({
  hostname: 'mail.example.test',
  listeners: { mx: { listen: '127.0.0.1:2525', tls: 'none' } },
  plugins: [
    'storage-level',
    { domains: { domains: ['example.test'] } },
    { './fingerprint.ts': { refuse: ['spam.test'] } },
    'maildir',
  ],
})
