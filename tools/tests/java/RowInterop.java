import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.concurrent.CompletableFuture;

import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.SchemaGetter;
import org.apache.fluss.metadata.SchemaInfo;
import org.apache.fluss.record.LogRecord;
import org.apache.fluss.record.LogRecordBatch;
import org.apache.fluss.record.LogRecordReadContext;
import org.apache.fluss.record.MemoryLogRecords;
import org.apache.fluss.row.BinaryRow;
import org.apache.fluss.row.InternalRow;
import org.apache.fluss.row.decode.CompactedRowDecoder;
import org.apache.fluss.row.decode.IndexedRowDecoder;
import org.apache.fluss.row.encode.CompactedRowEncoder;
import org.apache.fluss.row.encode.IndexedRowEncoder;
import org.apache.fluss.row.encode.RowEncoder;
import org.apache.fluss.types.DataType;
import org.apache.fluss.types.RowType;
import org.apache.fluss.utils.CloseableIterator;

/**
 * Reads rows and log batches with the classes of the published client and writes what it saw as
 * rows again, one line each way.
 *
 * <p>Lines in: {@code schema JSON}; {@code compacted HEX}, {@code indexed HEX}, each answered by the
 * row in both formats; {@code log FORMAT HEX}, answered by each of its rows as a compacted one and
 * an empty line.
 */
public final class RowInterop {
    private static final HexFormat HEX = HexFormat.of();

    private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private Schema schema;
    private DataType[] types;

    public static void main(String[] arguments) throws Exception {
        RowInterop interop = new RowInterop();
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            interop.answer(line.split(" ", 3));
            interop.out.flush();
        }
    }

    private void answer(String[] words) throws Exception {
        switch (words[0]) {
            case "schema":
                String json = words.length > 2 ? words[1] + " " + words[2] : words[1];
                schema = Schema.fromJsonBytes(json.getBytes(StandardCharsets.UTF_8));
                types = schema.getRowType().getChildren().toArray(new DataType[0]);
                break;
            case "compacted":
                rows(new CompactedRowDecoder(types).decode(HEX.parseHex(words[1])));
                break;
            case "indexed":
                rows(new IndexedRowDecoder(types).decode(HEX.parseHex(words[1])));
                break;
            case "log":
                log(words[1], HEX.parseHex(words[2]));
                break;
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private void rows(InternalRow row) throws Exception {
        out.println(written(row, new CompactedRowEncoder(types)));
        out.println(written(row, new IndexedRowEncoder(types)));
    }

    private String written(InternalRow row, RowEncoder encoder) throws Exception {
        encoder.startNewRow();
        for (int i = 0; i < types.length; i++) {
            InternalRow.FieldGetter getter = InternalRow.createFieldGetter(types[i], i);
            encoder.encodeField(i, getter.getFieldOrNull(row));
        }
        BinaryRow binary = encoder.finishRow();
        byte[] bytes = new byte[binary.getSizeInBytes()];
        binary.copyTo(bytes, 0);
        return HEX.formatHex(bytes);
    }

    private void log(String format, byte[] bytes) throws Exception {
        RowType rowType = schema.getRowType();
        SchemaGetter getter = new OneSchema(schema);
        try (LogRecordReadContext context = context(format, rowType, getter)) {
            for (LogRecordBatch batch : MemoryLogRecords.pointToBytes(bytes).batches()) {
                batch.ensureValid();
                try (CloseableIterator<LogRecord> records = batch.records(context)) {
                    while (records.hasNext()) {
                        InternalRow row = records.next().getRow();
                        out.println(written(row, new CompactedRowEncoder(types)));
                    }
                }
            }
        }
        out.println();
    }

    private static LogRecordReadContext context(
            String format, RowType rowType, SchemaGetter getter) {
        switch (format) {
            case "ARROW":
                return LogRecordReadContext.createArrowReadContext(rowType, 1, getter);
            case "INDEXED":
                return LogRecordReadContext.createIndexedReadContext(rowType, 1, getter);
            default:
                return LogRecordReadContext.createCompactedRowReadContext(rowType, 1);
        }
    }

    private static final class OneSchema implements SchemaGetter {
        private final Schema schema;

        OneSchema(Schema schema) {
            this.schema = schema;
        }

        @Override
        public Schema getSchema(int schemaId) {
            return schema;
        }

        @Override
        public CompletableFuture<SchemaInfo> getSchemaInfoAsync(int schemaId) {
            return CompletableFuture.completedFuture(new SchemaInfo(schema, 1));
        }

        @Override
        public SchemaInfo getLatestSchemaInfo() {
            return new SchemaInfo(schema, 1);
        }

        @Override
        public void release() {}
    }
}
