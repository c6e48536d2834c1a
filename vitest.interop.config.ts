// What `npm run test:interop` runs: real servers and clients, one file at a time. See test/interop/needs.ts.

import { defineConfig } from 'vitest/config'

const conditions = ['@posthorn/source', 'node']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/interop/**/*.test.ts'],
    fileParallelism: false,
    passWithNoTests: true,
    pool: 'forks',
    execArgv: ['--conditions=@posthorn/source'],
    testTimeout: 120_000,
  },
})
