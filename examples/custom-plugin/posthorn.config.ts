import { defineConfig } from '@posthorn/core'

export default defineConfig({
  hostname: 'mx.example.test',
  data: '.posthorn',
  listeners: { mx: { listen: '127.0.0.1:2525' } },
  plugins: [
    'storage-level',
    { domains: { domains: ['example.test'] } },
    'maildir',
    { './fingerprint.ts': { refuse: ['spammer@example.net'] } },
  ],
})
