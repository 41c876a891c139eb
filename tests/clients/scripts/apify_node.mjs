// Runs with the official JavaScript client: its calls against a simulated Apify, answers as JSON.
//
//     node apify_node.mjs FOLDER_WITH_NODE_MODULES '{"url": ..., "token": ..., "actor": ..., ...}'
import { createRequire } from 'node:module';

const { ApifyClient } = createRequire(`${process.argv[2]}/`)('apify-client');
const world = JSON.parse(process.argv[3]);
const client = new ApifyClient({ token: world.token, baseUrl: world.url, maxRetries: 0 });
const told = {};

/** Do it; tell the answer, or how the platform refused. */
async function call(name, run) {
    try {
        const answer = await run();
        told[name] = { answer: answer === undefined ? null : answer };
        return answer;
    } catch (error) {
        if (error.name !== 'ApifyApiError') throw error;
        told[name] = { refused: [error.statusCode, error.type] };
        return undefined;
    }
}

const run = client.run(world.running);
const ended = client.run(world.ended);
const actor = client.actor(world.actor);
const task = client.task(world.task);

await call('runs', () => client.runs().list({ limit: 2, desc: true, status: ['READY', 'RUNNING'] }));
await call('runs-of-actor', () => actor.runs().list());
await call('runs-of-task', () => task.runs().list());
await call('run', () => run.get());
await call('run-waited', () => run.get({ waitForFinish: 5 }));
await call('run-unknown', () => client.run('unknown').get());
await call('last-run', () => actor.lastRun({ status: 'SUCCEEDED', origin: 'API' }).get());
await call('last-run-of-task', () => task.lastRun().get());
await call('log', () => run.log().get());
await call('dataset-of-run', () => run.dataset().get());
await call('store-of-run', () => run.keyValueStore().get());
await call('queue-of-run', () => run.requestQueue().get());
await call('items', () => client.run(world.deletable).dataset().listItems({ limit: 3 }));
await call('datasets', () => client.datasets().list({ unnamed: true }));
await call('status-message', () => run.update({ statusMessage: 'over its budget', isStatusMessageTerminal: true }));
const started = await call('start', () => actor.start({ a: 1 }, {
    memory: 512, timeout: 99, maxItems: 7, maxTotalChargeUsd: 2, restartOnError: true, build: 'beta',
}));
await call('start-waited', () => actor.start({ a: 1 }, { waitForFinish: 5 }));
await call('start-task', () => task.start({ b: 1 }));
await call('call', () => actor.call({}, { waitSecs: 1, log: null }));
await call('wait-to-the-end', () => client.run(world.ending).waitForFinish({ waitSecs: 30 }));
await call('metamorph', () => client.run(started.id).metamorph(world.other_actor, {}));
await call('reboot', () => client.run(started.id).reboot());
await call('charge-event', async () => {
    await client.run(world.by_event).charge({ eventName: 'result', count: 3 });
    return client.run(world.by_event).get();
});
await call('charge-own-event', () => client.run(world.by_event).charge({ eventName: 'apify-actor-start' }));
await call('abort-gracefully', () => run.abort({ gracefully: true }));
await call('abort', () => client.run(started.id).abort());
await call('resurrect', () => ended.resurrect({ memory: 2048, timeout: 60, maxTotalChargeUsd: 3 }));
await call('delete', () => client.run(world.deletable).delete());
await call('actors', () => client.actors().list({ my: false }));
await call('actor', () => actor.get());
await call('actor-hidden', () => client.actor(world.hidden_actor).get());
await call('default-build', async () => (await actor.defaultBuild()).get());
await call('builds', () => actor.builds().list());
await call('versions', () => actor.versions().list());
await call('store', () => client.store().list({ search: 'google' }));
await call('tasks', () => client.tasks().list());
await call('task', () => task.get());
await call('task-input', () => task.updateInput({ city: 'Berlin' }));
await call('task-renamed', () => task.update({ name: 'hamburg' }));
await call('schedules', () => client.schedules().list());
await call('schedule-paused', () => client.schedule(world.schedule).update({ isEnabled: false }));
await call('schedule-log', () => client.schedule(world.schedule).getLog());
await call('webhooks', () => client.webhooks().list());
await call('webhooks-of-actor', () => actor.webhooks().list());
await call('webhook-new', () => client.webhooks().create({
    eventTypes: ['ACTOR.RUN.TIMED_OUT'], requestUrl: 'https://example.com/hook', condition: { actorId: world.actor },
}));
await call('dispatches', () => client.webhookDispatches().list());
await call('me', () => client.user().get());
await call('limits', () => client.user().limits());
await call('limits-too-low', () => client.user().updateLimits({ maxMonthlyUsageUsd: 0 }));
await call('usage', () => client.user().monthlyUsage());
await call('wrong-token', () => new ApifyClient({ token: 'wrong', baseUrl: world.url, maxRetries: 0 }).user().get());
console.log(JSON.stringify(told));
