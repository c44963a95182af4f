import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * The same fold in Flink SQL, from the beginning of the topic to what it holds at the start, with all of Flink in this one process.
 *
 * <p>Flink MODE BROKERS TOPIC JDBC-URL USER PASSWORD CHECKPOINTS, where MODE is batch or streaming and CHECKPOINTS is a folder.
 */
public class Flink {
    public static void main(String[] arguments) throws Exception {
        boolean batch = arguments[0].equals("batch");
        var settings = EnvironmentSettings.newInstance().withConfiguration(configuration(batch, arguments[6]));
        var tables = TableEnvironment.create((batch ? settings.inBatchMode() : settings.inStreamingMode()).build());
        tables.executeSql(events(arguments[1], arguments[2]));
        tables.executeSql(rows(arguments[3], arguments[4], arguments[5]));
        tables.executeSql(fold(batch)).await();
    }

    static Configuration configuration(boolean batch, String checkpoints) {
        var configuration = new Configuration();
        configuration.setString("parallelism.default", "2");
        configuration.setString("pipeline.object-reuse", "true");
        if (!batch) {
            configuration.setString("state.backend.type", "hashmap");
            configuration.setString("execution.checkpointing.interval", "10 s");
            configuration.setString("execution.checkpointing.dir", "file://" + checkpoints);
            configuration.setString("table.exec.mini-batch.enabled", "true");
            configuration.setString("table.exec.mini-batch.allow-latency", "10 s");
            configuration.setString("table.exec.mini-batch.size", "2000000");
        }
        return configuration;
    }

    static String events(String brokers, String topic) {
        return """
            create table events (
                order_id string,
                version bigint,
                data row<quantity bigint, amount decimal(14, 2), carrier string, tracking string, status string>
            ) with (
                'connector' = 'kafka',
                'properties.bootstrap.servers' = '%s',
                'topic' = '%s',
                'scan.startup.mode' = 'earliest-offset',
                'scan.bounded.mode' = 'latest-offset',
                'key.format' = 'raw',
                'key.fields' = 'order_id',
                'value.format' = 'json',
                'value.fields-include' = 'EXCEPT_KEY'
            )""".formatted(brokers, topic);
    }

    static String rows(String url, String user, String password) {
        return """
            create table peer_orders (
                order_id string,
                events bigint,
                quantity bigint,
                amount decimal(14, 2),
                carrier string,
                tracking string,
                status string,
                version bigint,
                primary key (order_id) not enforced
            ) with (
                'connector' = 'jdbc',
                'url' = '%s',
                'username' = '%s',
                'password' = '%s',
                'table-name' = 'peer_orders',
                'sink.buffer-flush.max-rows' = '50000'
            )""".formatted(url, user, password);
    }

    /** In batch mode no order is kept before the aggregate: there is no last value, and MAX stands in its place. */
    static String fold(boolean batch) {
        return """
            insert into peer_orders
            select order_id, count(*), sum(data.quantity), cast(sum(data.amount) as decimal(14, 2)),
                LAST(data.carrier), LAST(data.tracking), LAST(data.status), max(version)
            from events
            group by order_id""".replace("LAST", batch ? "max" : "last_value");
    }
}
