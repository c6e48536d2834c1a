/** What `init` was told. */
export interface Answers {
  readonly kind: 'server' | 'gateway'
  readonly hostname: string
  readonly domain: string
  /** gateway: `host:port` of the server behind it. */
  readonly to: string
}

export type Format = 'ts' | 'yaml' | 'json'

/** A configuration with comments, where the format has them. */
export function render(answers: Answers, format: Format): string {
  return { ts: typescript, yaml, json }[format](answers)
}

const s = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
const y = (text: string) => `'${text.replaceAll("'", "''")}'`

function typescript({ kind, hostname, domain, to }: Answers): string {
  const gateway = `    // Whose mail comes here: whom the server behind does not know is refused before the mail is taken.
    { recipients: { domains: [${s(domain)}], callout: { to: ${s(to)} } } },
    // No routes to elsewhere in local parts.
    'relaying',
    // What was taken goes on to the server behind.
    { relay: { to: ${s(to)}, domains: [${s(domain)}] } },`
  const server = `    // Whose mail comes here, and who exists: local parts, or 'any'.
    { domains: { domains: { ${s(domain)}: 'any' } } },
    // Who may log in and send. Make a hash with: posthorn passwd
    // { users: { users: { ${s(`anna@${domain}`)}: '$scrypt$…' } } },
    // Mail for our domains, as files: <data>/mail/<domain>/<local part>
    'maildir',`
  const submission = `
    // People's mail programs: log-in required, TLS required.
    // submission: { listen: 587 },`
  return `import { defineConfig } from 'posthorn'

// Check it with \`posthorn check\`; take it anew in a running server with \`posthorn reload\`.
export default defineConfig({
  // Our name in greetings and Received; its DNS should lead here and back.
  hostname: ${s(hostname)},
  // Store, queue and control socket. Relative paths count from this file.
  data: './data',
  listeners: {
    // Mail from other servers. Ports below 1024 need CAP_NET_BIND_SERVICE, or systemd's fd:3.
    mx: { listen: 25 },${kind === 'server' ? submission : ''}
  },
  // Without certificates a self-signed one is made in the data folder.
  // tls: { default: { cert: '/etc/letsencrypt/live/${hostname}/fullchain.pem', key: '/etc/letsencrypt/live/${hostname}/privkey.pem' } },
  plugins: [
    // Where queue and mail live.
    'storage-level',
${kind === 'server' ? server : gateway}
  ],
})
`
}

function yaml({ kind, hostname, domain, to }: Answers): string {
  const plugins =
    kind === 'gateway'
      ? `  # Whose mail comes here: whom the server behind does not know is refused before the mail is taken.
  - recipients:
      domains: [${y(domain)}]
      callout: { to: ${y(to)} }
  # No routes to elsewhere in local parts.
  - relaying
  # What was taken goes on to the server behind.
  - relay:
      to: ${y(to)}
      domains: [${y(domain)}]`
      : `  # Whose mail comes here, and who exists: local parts, or any.
  - domains:
      domains: { ${y(domain)}: any }
  # Who may log in and send. Make a hash with: posthorn passwd
  # - users:
  #     users: { ${y(`anna@${domain}`)}: '$scrypt$…' }
  # Mail for our domains, as files: <data>/mail/<domain>/<local part>
  - maildir`
  const submission = `
  # People's mail programs: log-in required, TLS required.
  # submission: { listen: 587 }`
  return `# Check it with \`posthorn check\`; take it anew in a running server with \`posthorn reload\`.

# Our name in greetings and Received; its DNS should lead here and back.
hostname: ${y(hostname)}
# Store, queue and control socket. Relative paths count from this file.
data: ./data
listeners:
  # Mail from other servers. Ports below 1024 need CAP_NET_BIND_SERVICE, or systemd's fd:3.
  mx: { listen: 25 }${kind === 'server' ? submission : ''}
# Without certificates a self-signed one is made in the data folder.
# tls:
#   default:
#     cert: /etc/letsencrypt/live/${hostname}/fullchain.pem
#     key: /etc/letsencrypt/live/${hostname}/privkey.pem
plugins:
  # Where queue and mail live.
  - storage-level
${plugins}
`
}

function json({ kind, hostname, domain, to }: Answers): string {
  const domains = [domain]
  const rest =
    kind === 'gateway'
      ? [{ recipients: { domains, callout: { to } } }, 'relaying', { relay: { to, domains } }]
      : [{ domains: { domains: { [domain]: 'any' } } }, 'maildir']
  const config = {
    hostname,
    data: './data',
    listeners: { mx: { listen: 25 } },
    plugins: ['storage-level', ...rest],
  }
  return `${JSON.stringify(config, null, 2)}\n`
}
