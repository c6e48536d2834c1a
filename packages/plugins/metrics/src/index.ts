// Prometheus metrics over HTTP, on loopback unless the operator says otherwise: there is no password on them.
import { definePlugin, MeterToken } from '@posthorn/core'
import fastify, { type FastifyInstance } from 'fastify'
import * as z from 'zod'
import { registryOf } from './exposition.ts'

const schema = z.strictObject({
  host: z.string().default('127.0.0.1').describe('Where to listen; anybody who can connect can read'),
  port: z.int().min(0).max(65_535).default(9464).describe('HTTP port; 0 picks a free one, which the log tells'),
  path: z.string().startsWith('/').default('/metrics').describe('The path of the metrics; /health answers too'),
})

export default definePlugin({
  name: 'metrics',
  schema,
  inject: { meter: MeterToken },
  async setup({ services, shared, log }, { host, port, path }) {
    // The listener survives a reload, so that no scrape fails while one is made.
    await shared(
      'listener',
      { host, port, path },
      async (): Promise<FastifyInstance> => {
        const registry = registryOf(services.meter)
        const app = fastify({ forceCloseConnections: true })
        app.get(path, async (_request, reply) => {
          const text = await registry.metrics()
          return reply.type(registry.contentType).send(text)
        })
        app.get('/health', async () => ({ status: 'ok' }))
        const address = await app.listen({ host, port })
        log.info({ address: `${address}${path}` }, 'metrics')
        return app
      },
      async app => {
        await app.close()
      },
    )
    return {}
  },
})
