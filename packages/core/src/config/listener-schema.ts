import * as z from 'zod'
import { duration, size } from './units.ts'

/** A whole number from `min` to `max`. */
export const count = (min = 1, max = 1_000_000_000) => z.int().min(min).max(max)

/** A string or a list of them; gives a list. */
export const strings = () =>
  z
    .union([z.string(), z.array(z.string())], { error: 'expected a string or a list of strings' })
    .transform(value => (typeof value === 'string' ? [value] : value))

const limitShape = {
  connections: count().describe('Connections at the same time, all clients together.'),
  connectionsPerIp: count().describe('Connections at the same time from one address.'),
  messageSize: size({ min: 1 }).describe('The largest message, in octets; announced by SIZE.'),
  recipients: count().describe('Recipients of one message; the next gets 452 4.5.3.'),
  messagesPerConnection: count().describe('Messages over one connection; then 421.'),
  idleCommands: count().describe('Commands of one session that do no work (NOOP, RSET, VRFY, HELP) before 421.'),
  errors: count().describe('Refused or unknown commands of one session before 421.'),
  commandLine: size({ min: 512, max: 65_536 }).describe('The longest command line, in octets.'),
  headerSize: size({ min: 1_024 }).describe('The largest message header, in octets.'),
  headerFields: count().describe('Fields of a message header.'),
  headerLines: count().describe('Lines of a message header.'),
  idle: duration({ min: 1 }).describe('Time without an octet from the client before 421.'),
  session: duration({ min: 1 }).describe('Time that one session may last.'),
  dataTime: duration({ min: 1 }).describe('Time that the body of one message may take.'),
  minRate: count(0).describe('Octets per second that a body must keep up after its first 30 seconds; 0: any.'),
}

type Defaulted<S extends z.ZodRawShape, D> = {
  [K in keyof S]: K extends keyof D ? z.ZodPrefault<S[K] & z.ZodType> : S[K]
}

/** Gives each field of `shape` the default of the same name, written as an operator would write it. */
export function withDefaults<S extends z.ZodRawShape, const D extends { readonly [K in keyof S]?: unknown }>(
  shape: S,
  defaults: D,
): Defaulted<S, D> {
  const result: Record<string, unknown> = { ...shape }
  for (const [name, value] of Object.entries(defaults))
    result[name] = (shape[name] as z.ZodType).prefault(value as never)
  return result as Defaulted<S, D>
}

/** The limits of every listener. */
export const limitsSchema = z.strictObject(
  withDefaults(limitShape, {
    connections: 10_000,
    connectionsPerIp: 100,
    messageSize: '64MiB',
    recipients: 1_000,
    messagesPerConnection: 100_000,
    idleCommands: 100,
    errors: 20,
    commandLine: 4_096,
    headerSize: '256KiB',
    headerFields: 1_000,
    headerLines: 5_000,
    // RFC 5321 §4.5.3.2.7
    idle: '5m',
    session: '2h',
    dataTime: '1h',
    minRate: 100,
  }),
)

const roles = ['mx', 'submission', 'lmtp'] as const

/** One listener as the operator writes it; what its role implies is filled in by `listeners.ts`. */
export const listenerSchema = z.strictObject({
  role: z
    .enum(roles)
    .optional()
    .describe('What it is for. Default: what its name begins with (mx, smtp; submission; lmtp).'),
  listen: z
    .union(
      [z.int().min(0).max(65_535), z.string(), z.array(z.union([z.int().min(0).max(65_535), z.string()])).min(1)],
      {
        error: 'expected a port, an address like 127.0.0.1:25, [::1]:25, unix:/path or fd:3, or a list of these',
      },
    )
    .describe('Where to listen: `25`, `127.0.0.1:25`, `[::]:25`, `unix:/path`, `fd:3` (systemd), or a list of these.'),
  tls: z
    .enum(['none', 'starttls', 'implicit'])
    .optional()
    .describe(
      '`starttls`: offered; `implicit`: from the first octet. Default: starttls; implicit for a listener named submissions or smtps; none for lmtp.',
    ),
  requireTls: z
    .boolean()
    .optional()
    .describe('MAIL before STARTTLS gets 530 5.7.0. Default: true for submission, else false.'),
  auth: z
    .enum(['off', 'optional', 'required'])
    .optional()
    .describe('Log-in. Default: required for submission, else off.'),
  insecureAuth: z.boolean().prefault(false).describe('Offer AUTH on connections without TLS: passwords in clear text.'),
  proxy: z.boolean().prefault(false).describe('Connections from `trust.proxy` begin with a PROXY header, v1 or v2.'),
  hostname: z.string().optional().describe('Our name in the greeting. Default: the global hostname.'),
  banner: z.string().max(200).optional().describe('Text of the greeting after the name.'),
  binarymime: z.boolean().prefault(false).describe('Offer BINARYMIME: NUL and bare CR or LF may then come in by BDAT.'),
  bareNewlines: z
    .enum(['refuse', 'normalise'])
    .prefault('refuse')
    .describe('Bare CR or LF in a message: refuse it (550 5.6.0), or make them CRLF, which changes signed bytes.'),
  priorities: z
    .enum(['users', 'all', 'off'])
    .prefault('users')
    .describe(
      'Who may say how urgent a message is (MT-PRIORITY, -9 to 9), here and at the next hop: who logged in, everybody, nobody.',
    ),
  limits: z.strictObject(limitShape).partial().prefault({}).describe('Limits that differ from the global ones.'),
})
export type ListenerInput = z.infer<typeof listenerSchema>
