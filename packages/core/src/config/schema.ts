import * as z from 'zod'
import { dnsSchema } from './dns-schema.ts'
import { fromConfig } from './folder.ts'
import { count, limitsSchema, listenerSchema, strings, withDefaults } from './listener-schema.ts'
import { duration, size } from './units.ts'

/** A zod schema for a file or folder: relative paths count from the config file's folder. Gives an absolute path. */
export const path = () => z.string().min(1).transform(fromConfig)

const certificate = z.strictObject({
  cert: path().describe('PEM file with the certificate and its chain.'),
  key: path().describe('PEM file with the private key.'),
})

const networks = () => strings().prefault([])

export const pluginEntrySchema = z.strictObject({
  use: z.string().min(1).describe('A short name (`relay`), a package name, or a path (`./my-plugin.ts`).'),
  as: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, { error: 'expected a name of small letters, digits, dots and dashes' })
    .optional()
    .describe('Its name in logs, order and state, so that one plugin can be listed several times.'),
  on: z
    .union(
      [
        z.enum(['mx', 'submission', 'lmtp', 'access', 'internal']),
        z.array(z.enum(['mx', 'submission', 'lmtp', 'access', 'internal'])),
      ],
      {
        error: 'expected one or several of mx, submission, lmtp, access, internal',
      },
    )
    .transform(value => (typeof value === 'string' ? [value] : value))
    .optional()
    .describe('Listener roles that its hooks run for. Default: what the plugin says, else all but internal.'),
  unless: z
    .strictObject({
      net: strings().optional().describe('Client networks (CIDR).'),
      user: strings().optional().describe('Logged-in users.'),
      listener: strings().optional().describe('Listener names.'),
      sender: strings().optional().describe('Senders: an address, or a domain.'),
      recipient: strings().optional().describe('Recipients: an address, or a domain.'),
      state: strings().optional().describe('State keys that are set and not false: `access/allowed`.'),
    })
    .optional()
    .describe('Any of these being so skips its hooks for that call.'),
  onError: z
    .enum(['fail', 'ignore'])
    .prefault('fail')
    .describe(
      'A hook that throws or times out: `fail` is a temporary failure to the client; `ignore` goes on without it.',
    ),
  objection: z
    .enum(['keep', 'junk', 'ignore'])
    .prefault('keep')
    .describe('What its objections become: `junk` accepts into the Junk folder; `ignore` only traces them.'),
  timeout: duration({ min: 1 }).optional().describe('For each of its hooks. Default: what the plugin or stage says.'),
  options: z.unknown().optional().describe("The plugin's own options; see its README."),
})

const queueShape = {
  retry: z
    .array(duration({ min: 1 }))
    .min(1)
    .describe('Times between attempts; the last repeats.'),
  expire: duration({ min: 1 }).describe('When to give up and report the failure.'),
  delayReport: duration().describe('When to tell the sender that a message is late.'),
  concurrency: count().describe('Connections to one destination at the same time.'),
  maxRecipients: count().describe('Recipients of one transaction with the next hop.'),
  handover: z
    .strictObject(
      withDefaults(
        {
          messages: count(0).describe('Messages accepted and handed to delivery in memory.'),
          bytes: size().describe('Octets of those messages.'),
        },
        { messages: 10_000, bytes: '64MiB' },
      ),
    )
    .describe('What is handed to delivery in memory; beyond it, from disk.'),
  held: z
    .strictObject(
      withDefaults(
        {
          keep: duration({ min: 1 }).describe('How long undeliverable bounces are kept.'),
          max: count().describe('How many are kept; the oldest goes first.'),
        },
        { keep: '14d', max: 10_000 },
      ),
    )
    .describe('Bounces that could not be delivered.'),
  gather: duration().describe('How long failures of one message gather into one report.'),
}

/** The whole configuration as the operator writes it. `plugins` entries are read by `plugin-entries.ts`. */
export const configSchema = z.strictObject({
  hostname: z
    .string()
    .min(1)
    .max(255)
    .regex(/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i, { error: 'expected a host name like mail.example.org' })
    .optional()
    .describe("Our name in greetings, Received and reports. Default: the machine's."),
  data: path().prefault('./data').describe('Data folder, mode 0700: store, queue, control socket.'),
  listeners: z
    .record(
      z
        .string()
        .regex(/^[a-z0-9][a-z0-9._-]{0,31}$/, { error: 'expected a name of small letters, digits, dots and dashes' }),
      listenerSchema,
    )
    .refine(listeners => Object.keys(listeners).length > 0, { error: 'expected at least one listener' })
    .describe('Where mail comes in, by name: `{ mx: { listen: 25 } }`.'),
  tls: z
    .strictObject({
      default: certificate.optional().describe('Absent: a self-signed one is made in the data folder.'),
      names: z.record(z.string(), certificate).prefault({}).describe('By SNI name; `*.example.org` allowed.'),
      minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).prefault('TLSv1.2').describe('Older versions are refused.'),
      clients: z
        .strictObject({
          request: z.boolean().prefault(false).describe('Ask clients for certificates.'),
          ca: path().optional().describe('PEM file: those that verify against it are authorized.'),
        })
        .prefault({})
        .describe('Client certificates.'),
    })
    .prefault({})
    .describe('Certificates; read again at reload.'),
  trust: z
    .strictObject({
      proxy: networks().describe('Networks (CIDR) whose PROXY headers are believed.'),
      xclient: networks().describe('Networks (CIDR) that may send XCLIENT.'),
    })
    .prefault({})
    .describe('Who may speak for others. Never means "may relay".'),
  limits: limitsSchema.prefault({}).describe('Limits of each listener; a listener may have its own.'),
  body: z
    .strictObject(
      withDefaults(
        {
          memory: size({ min: 4_096 }).describe('Octets of one message in memory; what is larger goes to a file.'),
          inflight: size({ min: 65_536 }).describe(
            'Octets of all messages under way in memory before sockets are paused.',
          ),
          deadline: duration({ min: 1_000 }).describe(
            "Time that taps' end, seal and queue share; shorter than a client's patience.",
          ),
        },
        { memory: '256KiB', inflight: '128MiB', deadline: '240s' },
      ),
    )
    .prefault({})
    .describe('Message bodies on their way in.'),
  dns: dnsSchema.prefault({}).describe('Names and addresses: whom to ask.'),
  queue: z
    .strictObject(
      withDefaults(queueShape, {
        retry: ['5m', '10m', '20m', '40m', '1h20m', '2h40m', '4h'],
        expire: '5d',
        delayReport: '4h',
        concurrency: 20,
        maxRecipients: 100,
        handover: {},
        held: {},
        gather: '10m',
      }),
    )
    .prefault({})
    .describe('Delivery.'),
  trace: z
    .strictObject(
      withDefaults(
        { keep: duration().describe('How long.'), max: size().describe('How much.') },
        { keep: '7d', max: '1GiB' },
      ),
    )
    .prefault({})
    .describe('Decision traces, shown by `posthorn explain`.'),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error', 'silent'])
        .prefault('info')
        .describe('The least that is logged.'),
      file: path().optional().describe('Absent: standard output.'),
    })
    .prefault({})
    .describe('Logs, one JSON object a line.'),
  control: z
    .strictObject({
      socket: path()
        .optional()
        .describe('Unix socket of `posthorn status` and the like. Default: control.sock in the data folder.'),
    })
    .prefault({})
    .describe('How commands reach the running server.'),
  drain: duration().prefault('10m').describe('How long a replaced configuration may live on in its sessions.'),
  mixed: z
    .enum(['junk', 'discard', 'bounce', 'split'])
    .prefault('junk')
    .describe('One SMTP reply for different answers at the dot: what becomes of those refused.'),
  plugins: z
    .array(z.unknown())
    .prefault([])
    .describe('What the server does: names, `{ name: options }`, or `{ use, as, on, unless, …, options }`.'),
})

export type ParsedConfig = z.infer<typeof configSchema>

export type PluginEntryInput = string | z.input<typeof pluginEntrySchema> | { readonly [name: string]: unknown }

/** What a config file exports: see {@link defineConfig}. */
export type ConfigInput = Omit<z.input<typeof configSchema>, 'plugins'> & {
  readonly plugins?: readonly PluginEntryInput[]
}

/** Returns its argument: gives a config file in TypeScript or JavaScript completion and checks. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config
}
