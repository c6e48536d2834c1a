// In front of a server that already exists: takes mail for its domains on port 25, asks that server who exists, passes
// the mail on, and tells the truth about what it could not pass on.
import { defineConfig } from '@posthorn/core'

const domains = ['example.org', 'example.net']
const behind = 'mail.internal:25'

export default defineConfig({
  hostname: 'mx.example.org',
  data: '/var/lib/posthorn',
  listeners: { mx: { listen: 25 } },
  plugins: [
    'storage-level',
    // Whom the server behind does not know is refused before the mail is taken.
    { recipients: { domains, callout: { to: behind } } },
    // No routes to elsewhere in local parts, and no marks in the header that only our filters may set.
    { relaying: { strip: ['X-Spam-Flag', 'X-Spam-Status'] } },
    { relay: { to: behind, domains } },
  ],
})
