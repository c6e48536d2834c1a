// What `npm test` runs: no network, no root, nothing beside the clone. Files run side by side, so each uses port 0 and
// folders of its own.

import { defineConfig } from 'vitest/config'

const conditions = ['@posthorn/source', 'node']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      'packages/*/test/**/*.test.ts',
      'packages/plugins/*/test/**/*.test.ts',
      'test/{scenarios,integration,repo}/**/*.test.ts',
      'examples/**/*.test.ts',
    ],
    pool: 'forks',
    execArgv: ['--conditions=@posthorn/source'],
    // Two cores are what CI has; more workers only make timing worse there.
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 60_000,
    slowTestThreshold: 2_000,
    env: { TZ: 'UTC' },
  },
})
