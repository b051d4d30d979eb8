import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.admin.ListOffsetsResult;
import org.apache.fluss.client.admin.OffsetSpec;
import org.apache.fluss.client.lookup.LookupResult;
import org.apache.fluss.client.lookup.Lookuper;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.client.table.scanner.Scan;
import org.apache.fluss.client.table.scanner.ScanRecord;
import org.apache.fluss.client.table.scanner.log.LogScanner;
import org.apache.fluss.client.table.scanner.log.ScanRecords;
import org.apache.fluss.client.table.writer.AppendWriter;
import org.apache.fluss.client.table.writer.UpsertWriter;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.metadata.PartitionInfo;
import org.apache.fluss.metadata.PartitionSpec;
import org.apache.fluss.metadata.TableBucket;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TableInfo;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.BinaryString;
import org.apache.fluss.row.Decimal;
import org.apache.fluss.row.GenericArray;
import org.apache.fluss.row.GenericMap;
import org.apache.fluss.row.GenericRow;
import org.apache.fluss.row.InternalArray;
import org.apache.fluss.row.InternalMap;
import org.apache.fluss.row.InternalRow;
import org.apache.fluss.row.TimestampLtz;
import org.apache.fluss.row.TimestampNtz;
import org.apache.fluss.types.ArrayType;
import org.apache.fluss.types.DataType;
import org.apache.fluss.types.DataTypeChecks;
import org.apache.fluss.types.DataTypeRoot;
import org.apache.fluss.types.MapType;
import org.apache.fluss.types.RowType;

/**
 * The published client behind a pipe: commands on lines in, rows as text on lines out.
 *
 * <pre>
 * connect BOOTSTRAP                           ok
 * create DATABASE TABLE JSON                  ok
 * partition DATABASE TABLE key=value,...      ok
 * open DATABASE TABLE                         ok
 * append N, upsert N, delete N and N rows     ok
 * lookup N and N keys                         N lines: a row, or "-"
 * scan                                        lines CHANGE PARTITION BUCKET OFFSET ROW, "end"
 * scan HOW 3,0,...                            the same of these columns, by "index" or by "name"
 * </pre>
 *
 * <p>A scan of some columns ends where the one of all columns before it did.
 *
 * <p>Whatever goes wrong is answered by one line that begins with "error". A row is its columns with
 * blanks between them; {@link Cell} says how a column looks. Records have the entries of maps in
 * the order of their texts, as the scanner of this client loses theirs.
 */
public final class TableInterop {
    /** The longest that anything may take. */
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private Connection connection;
    private Table table;
    /** The partitions of the table, with their names; null is that of a table without any. */
    private final Map<Long, String> partitions = new LinkedHashMap<>();
    /** The ends of its buckets that have records. */
    private final Map<TableBucket, Long> ends = new LinkedHashMap<>();

    public static void main(String[] arguments) throws Exception {
        TableInterop interop = new TableInterop();
        for (String line = interop.in.readLine(); line != null; line = interop.in.readLine()) {
            try {
                interop.answer(line.split(" ", 4));
            } catch (Exception | Error error) {
                interop.out.println("error " + String.valueOf(causes(error)).replace('\n', ' '));
            }
            interop.out.flush();
        }
        if (interop.connection != null) {
            interop.connection.close();
        }
    }

    private static String causes(Throwable error) {
        String text = error.toString();
        StackTraceElement[] trace = error.getStackTrace();
        if (trace.length > 0) {
            text += " at " + trace[0];
        }
        return error.getCause() == null ? text : text + ", because of " + causes(error.getCause());
    }

    private void answer(String[] words) throws Exception {
        switch (words[0]) {
            case "connect":
                Map<String, String> options = new LinkedHashMap<>();
                options.put("bootstrap.servers", words[1]);
                options.put("client.writer.batch-timeout", "1ms");
                options.put("client.lookup.batch-timeout", "1ms");
                connection = ConnectionFactory.createConnection(Configuration.fromMap(options));
                break;
            case "create":
                byte[] json = words[3].getBytes(StandardCharsets.UTF_8);
                TableDescriptor descriptor = TableDescriptor.fromJsonBytes(json);
                done(connection.getAdmin().createTable(path(words), descriptor, false));
                break;
            case "partition":
                done(connection.getAdmin().createPartition(path(words), spec(words[3]), false));
                break;
            case "open":
                if (table != null) {
                    table.close();
                }
                table = connection.getTable(path(words));
                break;
            case "append":
                append(rows(words[1], rowType()));
                break;
            case "upsert":
            case "delete":
                put(rows(words[1], rowType()), words[0].equals("delete"));
                break;
            case "lookup":
                lookup(words[1]);
                return;
            case "scan":
                if (words.length == 1) {
                    findEnds();
                    scan(table.newScan(), rowType());
                } else {
                    String[] places = words[2].split(",");
                    int[] columns = Arrays.stream(places).mapToInt(Integer::parseInt).toArray();
                    RowType some = rowType().project(columns);
                    Scan scan = table.newScan();
                    boolean byName = words[1].equals("name");
                    scan(
                            byName
                                    ? scan.project(some.getFieldNames())
                                    : scan.project(columns),
                            some);
                }
                return;
            default:
                throw new IllegalArgumentException(words[0]);
        }
        out.println("ok");
    }

    private static TablePath path(String[] words) {
        return TablePath.of(words[1], words[2]);
    }

    private static PartitionSpec spec(String text) {
        Map<String, String> values = new LinkedHashMap<>();
        for (String pair : text.split(",")) {
            values.put(pair.substring(0, pair.indexOf('=')), pair.substring(pair.indexOf('=') + 1));
        }
        return new PartitionSpec(values);
    }

    private static <T> T done(CompletableFuture<T> future) throws Exception {
        return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private RowType rowType() {
        return table.getTableInfo().getRowType();
    }

    /** All rows are read before the first is used: an error leaves none of them unread. */
    private List<GenericRow> rows(String count, RowType type) throws IOException {
        List<String> lines = new ArrayList<>();
        for (int left = Integer.parseInt(count); left > 0; left--) {
            lines.add(in.readLine());
        }
        List<GenericRow> rows = new ArrayList<>();
        for (String line : lines) {
            String[] cells = line.split(" ");
            GenericRow row = new GenericRow(cells.length);
            for (int i = 0; i < cells.length; i++) {
                row.setField(i, new Cell(cells[i]).value(type.getTypeAt(i)));
            }
            rows.add(row);
        }
        return rows;
    }

    private void append(List<GenericRow> rows) throws Exception {
        AppendWriter writer = table.newAppend().createWriter();
        List<CompletableFuture<?>> futures = new ArrayList<>();
        for (GenericRow row : rows) {
            futures.add(writer.append(row));
        }
        writer.flush();
        done(CompletableFuture.allOf(futures.toArray(new CompletableFuture[0])));
    }

    private void put(List<GenericRow> rows, boolean delete) throws Exception {
        UpsertWriter writer = table.newUpsert().createWriter();
        List<CompletableFuture<?>> futures = new ArrayList<>();
        for (GenericRow row : rows) {
            futures.add(delete ? writer.delete(row) : writer.upsert(row));
        }
        writer.flush();
        done(CompletableFuture.allOf(futures.toArray(new CompletableFuture[0])));
    }

    private void lookup(String count) throws Exception {
        RowType keys = rowType().project(table.getTableInfo().getPrimaryKeys());
        List<GenericRow> rows = rows(count, keys);
        Lookuper lookuper = table.newLookup().createLookuper();
        List<CompletableFuture<LookupResult>> futures = new ArrayList<>();
        for (GenericRow row : rows) {
            futures.add(lookuper.lookup(row));
        }
        for (CompletableFuture<LookupResult> future : futures) {
            List<InternalRow> found = done(future).getRowList();
            if (found.size() > 1) {
                throw new IllegalStateException(found.size() + " rows have one key");
            }
            out.println(found.isEmpty() ? "-" : text(found.get(0), rowType(), false));
        }
    }

    /** Learns of the partitions of the table, and where its logs end now. */
    private void findEnds() throws Exception {
        TableInfo info = table.getTableInfo();
        TablePath path = info.getTablePath();
        partitions.clear();
        ends.clear();
        if (info.isPartitioned()) {
            for (PartitionInfo one : done(connection.getAdmin().listPartitionInfos(path))) {
                partitions.put(one.getPartitionId(), one.getPartitionName());
            }
        } else {
            partitions.put(null, "-");
        }
        List<Integer> buckets = new ArrayList<>();
        for (int bucket = 0; bucket < info.getNumBuckets(); bucket++) {
            buckets.add(bucket);
        }
        OffsetSpec latest = new OffsetSpec.LatestSpec();
        for (Map.Entry<Long, String> partition : partitions.entrySet()) {
            ListOffsetsResult asked =
                    partition.getKey() == null
                            ? connection.getAdmin().listOffsets(path, buckets, latest)
                            : connection
                                    .getAdmin()
                                    .listOffsets(path, partition.getValue(), buckets, latest);
            for (Map.Entry<Integer, Long> end : done(asked.all()).entrySet()) {
                if (end.getValue() > 0) {
                    ends.put(
                            new TableBucket(info.getTableId(), partition.getKey(), end.getKey()),
                            end.getValue());
                }
            }
        }
    }

    private void scan(Scan scan, RowType type) throws Exception {
        Map<TableBucket, Long> left = new LinkedHashMap<>(ends);
        try (LogScanner scanner = scan.createLogScanner()) {
            for (TableBucket bucket : ends.keySet()) {
                if (bucket.getPartitionId() == null) {
                    scanner.subscribe(bucket.getBucket(), 0);
                } else {
                    scanner.subscribe(bucket.getPartitionId(), bucket.getBucket(), 0);
                }
            }
            long until = System.nanoTime() + PATIENCE.toNanos();
            while (!left.isEmpty()) {
                if (System.nanoTime() > until) {
                    throw new IllegalStateException("not read to the end: " + left);
                }
                ScanRecords records = scanner.poll(Duration.ofSeconds(1));
                for (TableBucket bucket : records.buckets()) {
                    for (ScanRecord record : records.records(bucket)) {
                        out.println(
                                record.getChangeType().shortString()
                                        + " "
                                        + partitions.get(bucket.getPartitionId())
                                        + " "
                                        + bucket.getBucket()
                                        + " "
                                        + record.logOffset()
                                        + " "
                                        + text(record.getRow(), type, true));
                        if (record.logOffset() + 1 >= left.getOrDefault(bucket, 0L)) {
                            left.remove(bucket);
                        }
                    }
                }
            }
        }
        out.println("end");
    }

    private static String text(InternalRow row, RowType type, boolean sorted) {
        StringJoiner cells = new StringJoiner(" ");
        List<DataType> types = type.getChildren();
        for (int i = 0; i < types.size(); i++) {
            Object value = InternalRow.createFieldGetter(types.get(i), i).getFieldOrNull(row);
            cells.add(Cell.text(value, types.get(i), sorted));
        }
        return cells.toString();
    }

    /**
     * The text of a value: "~" for null, "t" and "f", decimal integers, the bits of floating-point
     * numbers in hexadecimal digits, UNSCALED/SCALE, MILLIS.NANOS, "s" and "x" before hexadecimal
     * digits for texts and bytes, [element,...], (field,...), {key:value,...}.
     */
    private static final class Cell {
        private static final HexFormat HEX = HexFormat.of();

        private final String text;
        private int at;

        Cell(String text) {
            this.text = text;
        }

        Object value(DataType type) {
            switch (text.charAt(at)) {
                case '~':
                    at++;
                    return null;
                case '[':
                    List<Object> items = new ArrayList<>();
                    while (more(']')) {
                        items.add(value(((ArrayType) type).getElementType()));
                    }
                    return new GenericArray(items.toArray());
                case '(':
                    List<DataType> fields = type.getChildren();
                    GenericRow row = new GenericRow(fields.size());
                    for (int i = 0; more(')'); i++) {
                        row.setField(i, value(fields.get(i)));
                    }
                    return row;
                case '{':
                    Map<Object, Object> map = new LinkedHashMap<>();
                    while (more('}')) {
                        Object key = value(((MapType) type).getKeyType());
                        at++;
                        map.put(key, value(((MapType) type).getValueType()));
                    }
                    return new GenericMap(map);
                default:
                    int from = at;
                    while (at < text.length() && ",:])}".indexOf(text.charAt(at)) < 0) {
                        at++;
                    }
                    return scalar(text.substring(from, at), type);
            }
        }

        /** Steps over an opening bracket or a comma; false, past it, at the closing bracket. */
        private boolean more(char close) {
            boolean opening = "[({".indexOf(text.charAt(at)) >= 0;
            if (!opening && text.charAt(at) == close) {
                at++;
                return false;
            }
            at++;
            if (opening && text.charAt(at) == close) {
                at++;
                return false;
            }
            return true;
        }

        private static Object scalar(String word, DataType type) {
            switch (type.getTypeRoot()) {
                case BOOLEAN:
                    return word.equals("t");
                case TINYINT:
                    return Byte.valueOf(word);
                case SMALLINT:
                    return Short.valueOf(word);
                case INTEGER:
                case DATE:
                case TIME_WITHOUT_TIME_ZONE:
                    return Integer.valueOf(word);
                case BIGINT:
                    return Long.valueOf(word);
                case FLOAT:
                    return Float.intBitsToFloat(Integer.parseUnsignedInt(word, 16));
                case DOUBLE:
                    return Double.longBitsToDouble(Long.parseUnsignedLong(word, 16));
                case CHAR:
                case STRING:
                    return BinaryString.fromBytes(HEX.parseHex(word.substring(1)));
                case BINARY:
                case BYTES:
                    return HEX.parseHex(word.substring(1));
                case DECIMAL:
                    String[] parts = word.split("/");
                    BigDecimal decimal =
                            new BigDecimal(new BigInteger(parts[0]), Integer.parseInt(parts[1]));
                    return Decimal.fromBigDecimal(
                            decimal,
                            DataTypeChecks.getPrecision(type),
                            DataTypeChecks.getScale(type));
                default:
                    long millis = Long.parseLong(word.substring(0, word.indexOf('.')));
                    int nanos = Integer.parseInt(word.substring(word.indexOf('.') + 1));
                    return type.getTypeRoot() == DataTypeRoot.TIMESTAMP_WITHOUT_TIME_ZONE
                            ? TimestampNtz.fromMillis(millis, nanos)
                            : TimestampLtz.fromEpochMillis(millis, nanos);
            }
        }

        static String text(Object value, DataType type, boolean sorted) {
            if (value == null) {
                return "~";
            }
            switch (type.getTypeRoot()) {
                case BOOLEAN:
                    return (Boolean) value ? "t" : "f";
                case FLOAT:
                    return HEX.toHexDigits(Float.floatToRawIntBits((Float) value));
                case DOUBLE:
                    return HEX.toHexDigits(Double.doubleToRawLongBits((Double) value));
                case CHAR:
                case STRING:
                    return "s" + HEX.formatHex(BinaryString.encodeUTF8(value.toString()));
                case BINARY:
                case BYTES:
                    return "x" + HEX.formatHex((byte[]) value);
                case DECIMAL:
                    BigDecimal decimal = ((Decimal) value).toBigDecimal();
                    return decimal.unscaledValue() + "/" + decimal.scale();
                case TIMESTAMP_WITHOUT_TIME_ZONE:
                    TimestampNtz ntz = (TimestampNtz) value;
                    return ntz.getMillisecond() + "." + ntz.getNanoOfMillisecond();
                case TIMESTAMP_WITH_LOCAL_TIME_ZONE:
                    TimestampLtz ltz = (TimestampLtz) value;
                    return ltz.getEpochMillisecond() + "." + ltz.getNanoOfMillisecond();
                case ARRAY:
                    DataType element = ((ArrayType) type).getElementType();
                    return "[" + items((InternalArray) value, element, sorted, ",") + "]";
                case MAP:
                    return map((InternalMap) value, (MapType) type, sorted);
                case ROW:
                    StringJoiner fields = new StringJoiner(",", "(", ")");
                    List<DataType> types = type.getChildren();
                    for (int i = 0; i < types.size(); i++) {
                        InternalRow.FieldGetter getter =
                                InternalRow.createFieldGetter(types.get(i), i);
                        Object field = getter.getFieldOrNull((InternalRow) value);
                        fields.add(text(field, types.get(i), sorted));
                    }
                    return fields.toString();
                default:
                    return value.toString();
            }
        }

        private static String items(
                InternalArray array, DataType type, boolean sorted, String between) {
            InternalArray.ElementGetter getter = InternalArray.createElementGetter(type);
            StringJoiner items = new StringJoiner(between);
            for (int i = 0; i < array.size(); i++) {
                items.add(text(getter.getElementOrNull(array, i), type, sorted));
            }
            return items.toString();
        }

        private static String map(InternalMap map, MapType type, boolean sorted) {
            if (map.size() == 0) {
                return "{}";
            }
            // No text holds a blank.
            String[] keys = items(map.keyArray(), type.getKeyType(), sorted, " ").split(" ");
            String[] values = items(map.valueArray(), type.getValueType(), sorted, " ").split(" ");
            String[] entries = new String[keys.length];
            for (int i = 0; i < keys.length; i++) {
                entries[i] = keys[i] + ":" + values[i];
            }
            if (sorted) {
                Arrays.sort(entries);
            }
            return "{" + String.join(",", entries) + "}";
        }
    }
}
